"""Where an instruction's rows lie: base + (r // row_group) * jump + (r % row_group) * stride."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value

from .count_down import count_down


class RowWalk:
    """`addr`, the word of the row at hand, and `last`: step by step, without a multiplier.

    rows: a struct with rows, row_group and <name>_base, _stride, _jump, that holds still while rows
    are walked, from the cycle before `start` on. `start` in the cycle before row 0, `step` in the
    last cycle of a row; after the last row the walk begins again.
    """

    def __init__(self, m: Module, rows, name: str, start: Value, step: Value):
        base, stride, jump = (
            getattr(rows, f"{name}_{part}") for part in ("base", "stride", "jump")
        )
        self.addr = Signal(len(base), name=f"{name}_addr")
        group = Signal.like(self.addr, name=f"{name}_group")  # the group's first row
        self.last = count_down(m, f"{name}_last_row", start, step, rows.rows)
        begin = start | (step & self.last)
        ends_group = count_down(m, f"{name}_ends_group", begin, step, rows.row_group)
        with m.If(begin):
            m.d.sync += [self.addr.eq(base), group.eq(base)]
        with m.Elif(step):
            with m.If(ends_group):
                m.d.sync += [group.eq(group + jump), self.addr.eq(group + jump)]
            with m.Else():
                m.d.sync += self.addr.eq(self.addr + stride)
