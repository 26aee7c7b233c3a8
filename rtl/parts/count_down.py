"""A loop's counter that knows ahead when the last round comes."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value


def count_down(
    m: Module, name: str, load: Value, step: Value, total: Value, single: Value | None = None
) -> Signal:
    """Is this the last of `total` rounds? `step` ends one; the loop begins again after the last
    one, and at `load`. The answer is a register: it is worked out one round ahead.

    `total` holds still from the cycle before `load` on; from `load` on is enough for one who knows
    whether it is 1, `single`.
    """
    left, last = Signal.like(total, name=f"{name}_left"), Signal(name=name)
    if single is None:
        single = Signal(name=f"{name}_single")
        m.d.sync += single.eq(total == 1)
    with m.If(load | (step & last)):
        m.d.sync += [left.eq(total), last.eq(single)]
    with m.Elif(step):
        m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
    return last
