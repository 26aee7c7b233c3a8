"""rtl.parts.count_down: the last of so many rounds, whatever passes between them."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.rtl.parts.count_down import count_down
from tests.rtl.bus import simulate


class Loop(wiring.Component):
    """told: `single` comes from outside, so that `total` need not be there before `load`."""

    def __init__(self, told: bool):
        self.told = told
        super().__init__({"load": In(1), "step": In(1), "total": In(4), "last": Out(1)})

    def elaborate(self, platform):
        m = Module()
        single = self.total == 1 if self.told else None
        last = count_down(m, "loop", self.load, self.step, self.total, single)
        m.d.comb += self.last.eq(last)
        return m


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("pace", [1.0, 0.4])
def test_the_last_round(pace, told):
    """Totals one after another, each loop several times over; a load in mid-loop begins anew."""
    dut, rng = Loop(told), random.Random(pace)

    async def process(ctx):
        for total in (1, 2, 3, 7, 1, 15, 2):
            ctx.set(dut.total, total)
            if not told:
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
