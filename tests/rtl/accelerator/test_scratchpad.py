"""rtl.accelerator.scratchpad: priority of its ports, and what is read while it is written."""

import json

import pytest
from amaranth.sim import Simulator

from fqvit_hw.machine.hardware import ECP5_85K
from fqvit_hw.rtl.accelerator.scratchpad import READ, WRITE, Scratchpad
from fqvit_hw.rtl.flow.tools import run as run_tool
from fqvit_hw.rtl.flow.verilog import convert

DEPTH, WIDTH, GRANULE = 5, 96, 8  # two slices, the second of 32 bits
OLD, NEW = 0x1111_2222_3333_4444_5555_6666, 0xAAAA_BBBB_CCCC_DDDD_EEEE_FFFF
ONES = (1 << WIDTH) - 1


def run(bench, **settings):
    pad = Scratchpad(DEPTH, WIDTH, GRANULE, 2, 2, **settings)
    sim = Simulator(pad)
    sim.add_clock(1e-6)

    async def testbench(ctx):
        await bench(ctx, pad)

    sim.add_testbench(testbench)
    sim.run()


def put(ctx, port, addr, data, mask=(1 << WIDTH // GRANULE) - 1):
    for name, value in {"valid": 1, "addr": addr, "data": data, "mask": mask}.items():
        ctx.set(getattr(port, name), value)


@pytest.mark.parametrize(
    ("poison", "mask", "addr", "seen"),
    [
        (False, 0xFFF, 3, OLD),
        (True, 0xFFF, 3, OLD ^ ONES),
        (True, 0x800, 3, OLD ^ 0xFF << 88),  # only what is written
        (True, 0, 3, OLD),
        (True, 0xFFF, 2, 0),  # another word
    ],
)
def test_a_word_read_while_it_is_written(poison, mask, addr, seen):
    async def bench(ctx, pad):
        reader, writer = pad.readers[0], pad.writers[0]
        put(ctx, writer, 3, OLD)
        await ctx.tick()
        put(ctx, writer, 3, NEW, mask)
        await ctx.tick().repeat(WRITE - 1)
        ctx.set(writer.valid, 0)
        ctx.set(reader.valid, 1)
        ctx.set(reader.addr, addr)
        await ctx.tick().repeat(READ)
        assert ctx.get(reader.data) == seen
        await ctx.tick()  # read in the next cycle
        whole = {0xFFF: NEW, 0x800: (NEW >> 88 << 88) | (OLD & (1 << 88) - 1), 0: OLD}[mask]
        assert ctx.get(reader.data) == (whole if addr == 3 else 0)

    run(bench, poison=poison)


def test_the_first_port_goes_first():
    async def bench(ctx, pad):
        put(ctx, pad.writers[0], 0, OLD)
        put(ctx, pad.writers[1], 1, NEW)
        assert [ctx.get(port.ready) for port in pad.writers] == [1, 0]
        await ctx.tick()
        ctx.set(pad.writers[0].valid, 0)
        assert ctx.get(pad.writers[1].ready) == 1
        await ctx.tick()
        ctx.set(pad.writers[1].valid, 0)
        for addr, port in enumerate(pad.readers):
            ctx.set(port.valid, 1)
            ctx.set(port.addr, addr)
        assert [ctx.get(port.ready) for port in pad.readers] == [1, 0]
        await ctx.tick()
        ctx.set(pad.readers[0].valid, 0)
        await ctx.tick().repeat(READ - 1)
        assert ctx.get(pad.readers[0].data) == OLD
        await ctx.tick()
        assert ctx.get(pad.readers[1].data) == NEW

    run(bench)


def test_no_block_ram_of_an_ecp5_holds_two_chunks_of_the_epilogue(tmp_path):
    """It reads a chunk of a stream word while it writes another one: these are other RAMs."""
    hw, chunk = ECP5_85K, 16 * ECP5_85K.lanes
    (tmp_path / "pad.v").write_text(convert(Scratchpad(hw.stream, hw.cols * 16, 16, 1, 1), "pad"))
    script = "read_verilog pad.v; synth_ecp5 -top pad; write_json pad.json"
    assert run_tool("yosys", ["-p", script], tmp_path, "log.txt") is None
    module = json.loads((tmp_path / "pad.json").read_text())["modules"]["pad"]
    place = {bit: n for n, bit in enumerate(module["ports"]["writers_0_data"]["bits"])}
    for cell in module["cells"].values():  # the register between the port and the RAMs
        if cell["type"] == "TRELLIS_FF" and cell["connections"]["DI"][0] in place:
            place[cell["connections"]["Q"][0]] = place[cell["connections"]["DI"][0]]
    found = []
    for cell in module["cells"].values():
        if cell["type"] == "DP16KD":
            pins = [bits for name, bits in cell["connections"].items() if name.startswith("DI")]
            found.append({place[bit] // chunk for bits in pins for bit in bits if bit in place})
    assert len(set().union(*found)) == hw.cols // hw.lanes
    assert all(len(chunks) == 1 for chunks in found)
