"""Both sides of the memory bus by themselves: where the memory map lies, and where it ends."""

from __future__ import annotations

import pytest

from fqvit_hw.cycles.timing import REQUEST
from fqvit_hw.machine.hardware import BURST_BYTES, TINY
from fqvit_hw.machine.isa import Error
from fqvit_hw.rtl.accelerator.axi_read import OUTSTANDING as READS
from fqvit_hw.rtl.accelerator.axi_read import AxiRead
from fqvit_hw.rtl.accelerator.axi_write import OUTSTANDING, AxiWrite
from fqvit_hw.rtl.accelerator.window import Window
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
        for cycle in range(REQUEST + 2):
            ctx.set(client.request.valid, cycle == 1)
            got = {field: ctx.get(getattr(dut.axi, f"{channel}{field}")) for field in fixed}
            assert got == fixed
            await ctx.tick()
            assert ctx.get(valid) == (cycle == REQUEST)

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
            for _ in range(REQUEST - 1):
                assert not ctx.get(valid)
                await ctx.tick()
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
    dut, client, valid, ready, _ = side(name)

    async def process(ctx):
        ctx.set(dut.base, 0x12_3456_0000)
        ctx.set(dut.size, size)
        ctx.set(ready, 1)
        ctx.set(client.request.payload, {"address": address, "beats": beats})
        ctx.set(client.request.valid, 1)
        assert ctx.get(client.request.ready)
        await ctx.tick()
        ctx.set(client.request.valid, 0)
        seen = []
        for _ in range(REQUEST + 2):
            seen.append((ctx.get(valid), ctx.get(dut.errors)))
            await ctx.tick()
        bad = 1 << Error.ADDRESS
        assert [v for v, _ in seen] == [n == REQUEST - 1 and right for n in range(len(seen))]
        assert [e for _, e in seen] == [
            bad * (n == REQUEST - 2 and not right) for n in range(len(seen))
        ]

    simulate(dut, process)


@pytest.mark.parametrize("moves", [True, False])
def test_write_bursts_under_way(moves):
    """OUTSTANDING reach AW and not one more, whether W is taken and only B waits, or W waits."""
    dut, client, valid, ready, _ = side("write")

    async def process(ctx):
        sent = 0

        async def run(cycles):
            nonlocal sent
            for _ in range(cycles):
                sent += ctx.get(valid)  # AWREADY is 1
                await ctx.tick()

        ctx.set(dut.size, 1 << 16)
        ctx.set(ready, 1)
        ctx.set(dut.axi.wready, int(moves))
        ctx.set(client.request.payload, {"address": 0, "beats": 1})
        ctx.set(client.request.valid, 1)
        ctx.set(client.beats.valid, 1)
        await run(5 * OUTSTANDING)
        assert sent == OUTSTANDING and not ctx.get(dut.idle)
        ctx.set(dut.axi.wready, 1)
        for n in range(1, 4):  # each answer makes room for one
            ctx.set(dut.axi.bvalid, 1)
            await run(1)
            ctx.set(dut.axi.bvalid, 0)
            await run(5)
            assert sent == OUTSTANDING + n

    simulate(dut, process)


@pytest.mark.parametrize("name", ["read", "write"])
def test_a_drain_forgets_what_is_on_its_way(name):
    """Requests that wait or are in the window never reach the bus; later ones do."""
    dut, client, valid, ready, address = side(name)

    async def process(ctx):
        ctx.set(dut.size, 1 << 16)
        ctx.set(ready, 1)
        ctx.set(client.request.valid, 1)
        for cycles in range(1, REQUEST):
            ctx.set(client.request.payload, {"address": 0, "beats": 1})
            for _ in range(cycles):
                assert not ctx.get(valid)
                await ctx.tick()
            ctx.set(dut.drain, 1)
            for _ in range(REQUEST + 2):
                assert not ctx.get(valid)
                await ctx.tick()
            assert ctx.get(dut.idle)
            ctx.set(dut.drain, 0)
        ctx.set(client.request.payload, {"address": BUS, "beats": 1})
        for _ in range(REQUEST):
            assert not ctx.get(valid)
            await ctx.tick()
        assert ctx.get(valid) and ctx.get(address) == BUS

    simulate(dut, process)


def test_reads_under_way():
    """At most OUTSTANDING, and never fewer than those without the window's, if no answer comes."""
    dut = AxiRead(TINY, 3)

    async def process(ctx):
        ctx.set(dut.size, 1 << 16)
        ctx.set(dut.axi.arready, 1)
        for client in dut.clients:
            ctx.set(client.request.payload, {"address": 0, "beats": 1})
            ctx.set(client.request.valid, 1)
        sent = 0
        for _ in range(4 * READS):
            sent += ctx.get(dut.axi.arvalid)
            await ctx.tick()
        assert READS - Window.STAGES <= sent <= READS

    simulate(dut, process)
