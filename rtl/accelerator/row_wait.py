"""Rows that wait for a count each, allowed ahead: a row whose count is there costs nothing."""

from __future__ import annotations

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value

from .ports import COUNT, PROGRESS

AHEAD = 3  # rows at most


def count_of(progress, unit: Value) -> Value:
    """The count of a unit; more than any count for NONE."""
    counts = [progress[name] for name in PROGRESS.members]
    return Array([Const(-1, COUNT), *counts, Const(-1, COUNT)])[unit]


def row_wait(
    m: Module, progress, ins, start: Value, active: Value, row_end: Value
) -> tuple[Value, Value]:
    """May the row at hand go, and the one after it? The first is a register, the second known a
    cycle later than it could be. Row r waits for wait0_count + r * wait0_step.

    ins: with wait0_unit, wait0_count and wait0_step, which hold still from the cycle before `start`
    to the last row_end; start: row 0 is next; active: from the cycle after it on; row_end: the row
    at hand has gone.
    """
    have, need = Signal(COUNT, name="have"), Signal(COUNT, name="need")
    allowed, known = Signal(range(AHEAD + 1)), Signal(range(AHEAD + 1))
    more, may_go = Signal(), Signal()
    m.d.comb += [
        more.eq(active & (allowed != AHEAD) & (have >= need)),
        known.eq(allowed + more),
    ]
    m.d.sync += [
        have.eq(count_of(progress, ins.wait0_unit)),
        need.eq(need + (more & ins.wait0_step)),
        allowed.eq(known - row_end),
        may_go.eq(Mux(row_end, known > 1, known != 0)),
    ]
    with m.If(start):
        m.d.sync += [need.eq(ins.wait0_count), allowed.eq(0), may_go.eq(0)]
    return may_go, allowed > 1
