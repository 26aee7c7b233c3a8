"""Three nested loops over the lines of a copy, without a product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, Value

from ..parts.count_down import count_down


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
        # of each loop's turn
        start = [Signal(len(base), name=f"{name}_start{n}") for n in range(3)]
        last = [Signal(name=f"{name}_last{n}") for n in range(3)]
        after = Signal(len(base), name=f"{name}_after")
        step = go
        for n in range(3):
            final = count_down(m, f"{name}_final{n}", load, step, counts[n])
            m.d.comb += last[n].eq(final & (last[n - 1] if n else 1))
            step = step & final
        turns = [start[n] + steps[n] for n in range(3)]
        m.d.comb += after.eq(Mux(last[1], turns[2], Mux(last[0], turns[1], turns[0])))
        with m.If(load):
            m.d.sync += [start[n].eq(base) for n in range(3)]
        with m.Elif(go):
            for n in range(3):
                with m.If(last[n - 1] if n else 1):
                    m.d.sync += start[n].eq(after)
        return cls(last, after)
