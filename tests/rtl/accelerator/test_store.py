"""STORE behind the write bus: exact cycles. What it stores is checked in test_bus.py."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring

from fqvit_hw.cycles.timing import STORE, STORE_START
from fqvit_hw.machine.hardware import TINY
from fqvit_hw.machine.isa import Space, Unit
from fqvit_hw.rtl.accelerator.axi_write import AxiWrite
from fqvit_hw.rtl.accelerator.store import Store
from tests.rtl.bus import simulate
from tests.rtl.instructions import fields_of


def test_timing():
    """From the count that was waited for to the read, and from there to the beat on the bus."""
    m = Module()
    m.submodules.store, m.submodules.write = store, write = Store(TINY), AxiWrite(TINY)
    wiring.connect(m, store.writer, write.client)
    words = TINY.bus_bytes // TINY.stream_bytes or 1  # one beat
    fields = {"space": Space.STREAM, "words": words, "lines": 1, "address": 256}
    waits = {"wait0_unit": Unit.NORM, "wait0_count": 3}
    seen = {}

    async def process(ctx):
        ctx.set(write.size, 1 << 16)
        ctx.set(store.i.payload, fields_of(store.i.payload.shape(), fields | waits))
        for signal in (store.i.valid, store.stream.ready, write.axi.awready, write.axi.wready):
            ctx.set(signal, 1)
        for cycle in range(60):
            ctx.set(store.progress.norm, 3 if cycle >= 20 else 2)
            if ctx.get(store.stream.valid):
                seen.setdefault("first read", cycle)
                seen["read"] = cycle
            if ctx.get(write.axi.wvalid):
                seen.setdefault("beat", cycle)
            await ctx.tick()

    simulate(m, process)
    assert seen["first read"] - 20 == STORE_START
    assert seen["beat"] - seen["read"] == STORE
