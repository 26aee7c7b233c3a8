"""Three nested loops over the lines of a copy, without a product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, Value


@dataclass
class Nest:
    """Three nested loops over lines: last: is this the last line of loop 0, of 1 and 0, of all?
    after: the address of the next line.
    """

    last: list[Value]
    after: Value

    @classmethod
    def build(
        cls, m: Module, name: str, i, load: Value, go: Value, base: Value, steps: Sequence[Value]
    ) -> Nest:
        """`load` sets it to the first line at `base`, `go` moves it on by a line.

        i: the LOAD, with the loops' counts; steps: from line to line in each loop, from the inner
        one.
        """
        counts = [i.count0, i.count1, i.count2]
        left = [Signal.like(counts[n], name=f"{name}_left{n}") for n in range(3)]
        # of each loop's turn
        start = [Signal(len(base), name=f"{name}_start{n}") for n in range(3)]
        last = [Signal(name=f"{name}_last{n}") for n in range(3)]
        after = Signal(len(base), name=f"{name}_after")
        for n in range(3):
            m.d.comb += last[n].eq((left[n] == 1) & (last[n - 1] if n else 1))
        turns = [start[n] + steps[n] for n in range(3)]
        m.d.comb += after.eq(Mux(last[1], turns[2], Mux(last[0], turns[1], turns[0])))
        with m.If(load):
            m.d.sync += [start[n].eq(base) for n in range(3)]
            m.d.sync += [left[n].eq(counts[n]) for n in range(3)]
        with m.Elif(go):
            for n in range(3):
                with m.If(last[n - 1] if n else 1):
                    m.d.sync += start[n].eq(after)
                    m.d.sync += left[n].eq(Mux(last[n], counts[n], left[n] - 1))
        return cls(last, after)
