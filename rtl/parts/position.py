"""Where a stage is in its rows: the beat at hand, what is left of the row, its live lanes."""

from __future__ import annotations

from typing import NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, Value


class Position(NamedTuple):
    """Of a beat in its row. left: elements from its lane 0 to the end of the row."""

    first: Signal
    last: Signal
    left: Signal


def position(m: Module, name: str, length: Value, lanes: int, step: Value) -> Position:
    """The place of the beat at hand in rows of `length` elements, `lanes` a beat; `step` ends it.

    `length` holds still from the cycle before a row's first beat to its last. What all of this
    depends on stands in registers: whether a beat is the last is known a step before.
    """
    first, last = Signal(init=1, name=f"{name}_first"), Signal(name=f"{name}_last")
    left = Signal(len(length), name=f"{name}_left")
    whole, single = Signal.like(left, name=f"{name}_whole"), Signal(name=f"{name}_single")
    rest = Signal.like(left, name=f"{name}_rest")  # left for the row's next beat
    final = Signal(name=f"{name}_final")  # which is its last
    m.d.sync += [whole.eq(length), single.eq(length <= lanes)]
    m.d.comb += [left.eq(Mux(first, whole, rest)), last.eq(Mux(first, single, final))]
    with m.If(step):
        m.d.sync += [first.eq(last), rest.eq(left - lanes), final.eq(left <= 2 * lanes)]
    return Position(first, last, left)


def inside(left: Value, lanes: int) -> Value:
    """One bit a lane: it holds an element of the row, not its tail."""
    return Cat(n < left for n in range(lanes))
