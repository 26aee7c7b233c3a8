"""rtl.parts.there: the register and the queue agree in every cycle."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.fifo import SyncFIFO
from amaranth.sim import Simulator

from fqvit_hw.rtl.parts.there import there


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_it_says_what_the_queue_says(depth):
    m, rng = Module(), random.Random(depth)
    m.submodules.queue = queue = SyncFIFO(width=4, depth=depth)
    some, seen = there(m, queue), set()

    async def bench(ctx):
        for n in range(1500):
            often = (0.9, 0.5, 0.1)[n // 500]
            ctx.set(queue.w_en, rng.random() < often)
            ctx.set(queue.r_en, rng.random() < 0.5)
            assert ctx.get(some) == ctx.get(queue.r_rdy)
            seen.add(ctx.get(queue.level))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == set(range(depth + 1))
