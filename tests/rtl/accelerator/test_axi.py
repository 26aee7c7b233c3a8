"""Both sides of the memory bus by themselves: where the memory map lies, and where it ends."""

from __future__ import annotations

import pytest

from fqvit_hw.machine.hardware import BURST_BYTES, TINY
from fqvit_hw.machine.isa import Error
from fqvit_hw.rtl.accelerator.axi_read import AxiRead
from fqvit_hw.rtl.accelerator.axi_write import OUTSTANDING, AxiWrite
from tests.rtl.bus import simulate

BUS = TINY.bus_bytes
TOP = 1 << 32  # addresses in the memory map are below


def side(name: str):
    """-> device, its client, its valid, ready and address on the bus."""
    if name == "read":
        dut = AxiRead(TINY, 1)
        return dut, dut.clients[0], dut.axi.arvalid, dut.axi.arready, dut.axi.araddr
    dut = AxiWrite(TINY)
    return dut, dut.client, dut.axi.awvalid, dut.axi.awready, dut.axi.awaddr


@pytest.mark.parametrize(("name", "channel"), [("read", "ar"), ("write", "aw")])
def test_what_is_the_same_in_every_burst(name, channel):
    """The defaults of AXI4: ID 0, normal memory that is not cached, data, no lock, no priority."""
    dut, client, valid, ready, _ = side(name)
    fixed = {"id": 0, "size": 3, "burst": 1, "lock": 0, "cache": 3, "prot": 0, "qos": 0}

    async def process(ctx):
        ctx.set(dut.size, TOP - BURST_BYTES)
        ctx.set(client.request.payload, {"address": BURST_BYTES, "beats": 2})
        ctx.set(ready, 1)
        for asks in (0, 1, 0):
            ctx.set(client.request.valid, asks)
            got = {field: ctx.get(getattr(dut.axi, f"{channel}{field}")) for field in fixed}
            assert got == fixed
            await ctx.tick()
            assert ctx.get(valid) == asks

    simulate(dut, process)


@pytest.mark.parametrize("name", ["read", "write"])
@pytest.mark.parametrize("base", [0x12_3456_0000, 0xFFFF_FF00, 0x5A_8000_0000, 0xFF_0000_0000])
def test_addresses(name, base):
    """All bits of base + address, of a bus that has 40."""
    dut, client, valid, ready, address = side(name)

    async def process(ctx):
        ctx.set(dut.base, base)
        ctx.set(dut.size, TOP - BURST_BYTES)
        ctx.set(ready, 1)
        for at in (0, BURST_BYTES, 0x7FFF_FFF8, 0x8000_0000, 0xFFFF_FE00 - BUS):
            ctx.set(client.request.payload, {"address": at, "beats": 1})
            ctx.set(client.request.valid, 1)
            assert ctx.get(client.request.ready)
            await ctx.tick()
            ctx.set(client.request.valid, 0)
            assert ctx.get(valid) and ctx.get(address) == base + at
            await ctx.tick()

    simulate(dut, process)


@pytest.mark.parametrize("name", ["read", "write"])
@pytest.mark.parametrize(
    ("address", "beats", "size", "right"),
    [
        (0, 32, 256, True),
        (0, 32, 255, False),
        (BUS, 1, 2 * BUS, True),
        (BUS, 0, 256, False),  # no beat
        (4, 1, 256, False),  # not a beat's address
        (TOP - 256, 31, TOP - 8, True),  # the largest one
        (TOP - 256, 32, TOP - 8, False),  # its end is 0 in 32 bits
        (TOP - 256, 32, 256, False),
        (TOP - BUS, 1, 256, False),
    ],
)
def test_the_end_of_the_memory_map(name, address, beats, size, right):
    dut, client, _, ready, _ = side(name)

    async def process(ctx):
        ctx.set(dut.base, 0x12_3456_0000)
        ctx.set(dut.size, size)
        ctx.set(ready, 1)
        ctx.set(client.request.payload, {"address": address, "beats": beats})
        ctx.set(client.request.valid, 1)
        assert ctx.get(client.request.ready) == right
        assert ctx.get(dut.errors) == (0 if right else 1 << Error.ADDRESS)
        await ctx.tick()

    simulate(dut, process)


@pytest.mark.parametrize("moves", [True, False])
def test_write_bursts_under_way(moves):
    """OUTSTANDING are taken and not one more, whether W is taken and only B waits, or W waits."""
    dut, client, _, ready, _ = side("write")

    async def process(ctx):
        ctx.set(dut.size, 1 << 16)
        ctx.set(ready, 1)
        ctx.set(dut.axi.wready, int(moves))
        ctx.set(client.request.payload, {"address": 0, "beats": 1})
        ctx.set(client.request.valid, 1)
        ctx.set(client.beats.valid, 1)
        taken = 0
        for _ in range(4 * OUTSTANDING):
            taken += ctx.get(client.request.ready)
            await ctx.tick()
        assert taken == OUTSTANDING and not ctx.get(dut.idle)
        ctx.set(dut.axi.wready, 1)
        for _ in range(3):  # each answer makes room for one
            ctx.set(dut.axi.bvalid, 1)
            assert not ctx.get(client.request.ready)
            await ctx.tick()
            ctx.set(dut.axi.bvalid, 0)
            assert ctx.get(client.request.ready)
            await ctx.tick()

    simulate(dut, process)
