"""rtl.parts.count_down: the last of so many rounds, whatever passes between them."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.rtl.parts.count_down import count_down
from tests.rtl.bus import simulate


class Loop(wiring.Component):
    def __init__(self):
        super().__init__({"load": In(1), "step": In(1), "total": In(4), "last": Out(1)})

    def elaborate(self, platform):
        m = Module()
        last = Signal()
        m.d.comb += last.eq(count_down(m, "loop", self.load, self.step, self.total))
        m.d.comb += self.last.eq(last)
        return m


@pytest.mark.parametrize("pace", [1.0, 0.4])
def test_the_last_round(pace):
    """Totals one after another, each loop several times over; a load in mid-loop begins anew."""
    dut, rng = Loop(), random.Random(pace)

    async def process(ctx):
        for total in (1, 2, 3, 7, 1, 15, 2):
            ctx.set(dut.total, total)
            await ctx.tick()
            ctx.set(dut.load, 1)
            await ctx.tick()
            ctx.set(dut.load, 0)
            for n in range(2 * total + total // 2):
                while rng.random() >= pace:
                    assert ctx.get(dut.last) == (n % total == total - 1)
                    await ctx.tick()
                ctx.set(dut.step, 1)
                assert ctx.get(dut.last) == (n % total == total - 1)
                await ctx.tick()
                ctx.set(dut.step, 0)

    simulate(dut, process)
