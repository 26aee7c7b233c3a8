"""rtl.parts.elastic: nothing is lost, doubled or moved; neither side sees the other's handshake."""

import random

import pytest

from fqvit_hw.rtl.parts.elastic import Elastic
from tests.rtl.bus import simulate


@pytest.mark.parametrize(("offered", "taken"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.5), (0.6, 0.6)])
def test_what_goes_in_comes_out(offered, taken):
    dut, rng = Elastic(16), random.Random(f"{offered} {taken}")
    sent, seen = [], []

    async def process(ctx):
        offers, value = False, 0
        for _ in range(400):
            if not offers and rng.random() < offered:
                offers, value = True, rng.randrange(1 << 16)
            takes = rng.random() < taken
            ctx.set(dut.i.valid, offers)
            ctx.set(dut.i.payload, value)
            ready, valid = ctx.get(dut.i.ready), ctx.get(dut.o.valid)
            ctx.set(dut.o.ready, takes)
            assert ctx.get(dut.i.ready) == ready and ctx.get(dut.o.valid) == valid
            if valid and takes:
                seen.append(ctx.get(dut.o.payload))
            if offers and ready:
                sent.append(value)
                offers = False
            await ctx.tick()

    simulate(dut, process)
    assert seen == sent[: len(seen)] and len(sent) - len(seen) <= 2
    assert len(seen) == 399 if offered == taken == 1 else len(seen) > 100
