"""rtl.accelerator.clear: every word of the three memories, once, in the cycles that it says."""

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.sim import Simulator

from fqvit_hw.machine.hardware import HARDWARE
from fqvit_hw.rtl.accelerator.clear import Clear
from fqvit_hw.rtl.accelerator.scratchpad import READ
from fqvit_hw.rtl.accelerator.tiles import Tiles
from fqvit_hw.sim.networks.smallest import SMALLEST


def simulate(dut, testbench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


def test_every_word_is_written_with_zeros():
    dut, hw = Clear(SMALLEST), SMALLEST
    seen = {"acts": set(), "stream": set(), "tiles": set()}

    async def testbench(ctx):
        await ctx.tick()
        for n in range(dut.cycles):
            assert not ctx.get(dut.done)
            for name, written in seen.items():
                port = getattr(dut, name)
                if name == "tiles" and n >= dut.cycles // 2:
                    assert not ctx.get(port.valid)
                    continue
                assert ctx.get(port.valid)
                written.add(ctx.get(port.addr))
                if name != "tiles":
                    assert (
                        not ctx.get(port.data) and ctx.get(port.mask) == (1 << len(port.mask)) - 1
                    )
            await ctx.tick()
        for _ in range(2 * dut.cycles):  # and never again
            assert ctx.get(dut.done)
            assert not any(ctx.get(getattr(dut, name).valid) for name in seen)
            await ctx.tick()

    simulate(dut, testbench)
    assert all(set(range(getattr(hw, name))) <= written for name, written in seen.items())


def test_skipped():
    dut = Clear(SMALLEST, skip=True)

    async def testbench(ctx):
        for _ in range(3):
            assert ctx.get(dut.done)
            assert not any(ctx.get(p.valid) for p in (dut.acts, dut.stream, dut.tiles))
            await ctx.tick()

    simulate(dut, testbench)


@pytest.mark.parametrize("hw", HARDWARE.values(), ids=list(HARDWARE))
def test_cycles_are_those_of_the_largest_memory(hw):
    most = max(hw.acts, hw.stream, 2 * hw.tiles)
    assert most <= Clear(hw).cycles < 2 * most


def test_a_tile_that_was_written_is_cleared_whole():
    hw = SMALLEST
    dut = Tiles(hw)

    async def testbench(ctx):
        for tile in (2, 3):
            ctx.set(dut.weights.valid, 1)
            ctx.set(dut.weights.tile, tile)
            ctx.set(dut.weights.data, (1 << hw.bus) - 1)
            for beat in range(hw.tile_beats):
                ctx.set(dut.weights.beat, beat)
                await ctx.tick()
        ctx.set(dut.weights.valid, 0)
        ctx.set(dut.clear.valid, 1)
        ctx.set(dut.clear.addr, 3)
        await ctx.tick()
        ctx.set(dut.clear.valid, 0)
        await ctx.tick().repeat(hw.cols)
        for tile, expected in ((2, (1 << 8 * hw.tile_bytes) - 1), (3, 0)):
            ctx.set(dut.array.addr, tile)
            await ctx.tick().repeat(READ)
            assert ctx.get(dut.array.data) == expected

    simulate(dut, testbench)


def test_all_tiles_are_zeros_when_it_is_done():
    """Every column hears of it a cycle later: no byte of the first tile may be left out."""
    hw, held = SMALLEST, Signal()
    clear, tiles, m = Clear(hw), Tiles(hw), Module()
    m.submodules.clear, m.submodules.tiles = ResetInserter(held)(clear), tiles
    wiring.connect(m, clear.tiles, tiles.clear)

    async def testbench(ctx):
        ctx.set(held, 1)
        await ctx.tick()
        ctx.set(tiles.weights.valid, 1)
        ctx.set(tiles.weights.data, (1 << hw.bus) - 1)
        for tile in range(hw.tiles):
            ctx.set(tiles.weights.tile, tile)
            for beat in range(hw.tile_beats):
                ctx.set(tiles.weights.beat, beat)
                await ctx.tick()
        ctx.set(tiles.weights.valid, 0)
        await ctx.tick().repeat(hw.cols + 2)
        seen = []
        for _ in range(2):  # all ones before, zeros after
            for tile in range(hw.tiles):
                ctx.set(tiles.array.addr, tile)
                await ctx.tick().repeat(READ)
                seen.append(ctx.get(tiles.array.data))
            ctx.set(held, 0)
            await ctx.tick().until(clear.done)
        assert seen == [(1 << 8 * hw.tile_bytes) - 1] * hw.tiles + [0] * hw.tiles

    simulate(m, testbench)
