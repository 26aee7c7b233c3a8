"""LOAD behind the read bus: every space, alignment and loop against numpy, stalls everywhere."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring

from fqvit_hw.attention_codes import entry_bits
from fqvit_hw.cycles.timing import REQUEST
from fqvit_hw.machine.hardware import BASE, ECP5_85K, LARGE, TINY
from fqvit_hw.machine.isa import Error, Instruction, Opcode, Space, Unit
from fqvit_hw.rtl.accelerator.axi_read import AxiRead
from fqvit_hw.rtl.accelerator.load import LATENCY, Load
from fqvit_hw.sim.bus.axi import Memory
from tests.rtl.bus import memory_cycle, simulate
from tests.rtl.instructions import fields_of

MAP = 0x12_3456_0000
SMALL = replace(TINY, prefetch=40)


class System(Elaboratable):
    """A Load and a second reader in competition for the bus."""

    def __init__(self, hw):
        self.load, self.read = Load(hw), AxiRead(hw, 2)

    def elaborate(self, platform):
        m = Module()
        m.submodules.load, m.submodules.read = self.load, self.read
        wiring.connect(m, self.load.reader, self.read.clients[0])
        return m


def space_bytes(hw, space: Space) -> int:
    return {
        Space.ACTS: hw.acts * hw.rows,
        Space.STREAM: hw.stream * hw.stream_bytes,
        Space.NORM_TABLE: hw.max_channels * 8,
        Space.GELU_TABLE: 4096,
        Space.SOFTMAX_TABLE: 1024,
    }[space]


def expected(i: Instruction, memory: bytes, spaces: dict) -> None:
    """What numpy makes of the instruction."""
    flip = 0x80 if i.flip else 0
    for i2, i1, i0 in itertools.product(range(i.count2), range(i.count1), range(i.count0)):
        at = i.address + i2 * i.from2 + i1 * i.from1 + i0 * i.from0
        to = i.base + i2 * i.to2 + i1 * i.to1 + i0 * i.to0
        for p in range(i.pieces):
            piece = np.frombuffer(memory, np.uint8, i.piece, at + p * i.piece) ^ flip
            start = to + p * i.to_piece
            spaces[i.space][start : start + i.piece] = piece


def run(hw, instructions, memory: Memory, spaces, *, refuse=0.0, rival=0.0, size=None, seed=0):
    """Carries out the instructions; returns (credits, errors, cycle of the first AR)."""
    dut, rng = System(hw), np.random.default_rng(seed)
    load, rival_port = dut.load, dut.read.clients[1]
    credits, errors, first = [], [], []

    async def process(ctx):
        ctx.set(dut.read.base, MAP)
        ctx.set(dut.read.size, len(memory.data) if size is None else size)
        ctx.set(rival_port.request.payload, {"address": 256, "beats": hw.burst})
        for i in instructions:
            ctx.set(load.i.payload, fields_of(load.i.payload.shape(), i.fields))
            ctx.set(load.i.valid, 1)
            taken, cycle = False, 0
            while not taken and not errors:
                ctx.set(load.acts.ready, int(rng.random() >= refuse))
                ctx.set(load.stream.ready, int(rng.random() >= refuse))
                ctx.set(rival_port.request.valid, int(rng.random() < rival))
                memory_cycle(ctx, [dut.read.axi], memory)
                collect(ctx, load, hw, spaces)
                if ctx.get(dut.read.axi.arvalid) and not first:
                    first.append(cycle)
                if value := ctx.get(load.credit):
                    credits.append(value)
                if value := ctx.get(dut.read.errors):
                    errors.append(value)
                taken, cycle = ctx.get(load.i.ready), cycle + 1
                await ctx.tick()
        ctx.set(load.i.valid, 0)
        assert ctx.get(load.idle)

    simulate(dut, process)
    return credits, errors, first


def collect(ctx, load, hw, spaces) -> None:
    """The writes of this cycle."""
    for port, space, word, granule in (
        (load.acts, Space.ACTS, hw.rows, 1),
        (load.stream, Space.STREAM, hw.stream_bytes, 2),
    ):
        if ctx.get(port.valid) and ctx.get(port.ready):
            at, data, mask = ctx.get(port.addr) * word, ctx.get(port.data), ctx.get(port.mask)
            for k in range(word):
                if mask >> (k // granule) & 1:
                    spaces[space][at + k] = data >> 8 * k & 255
    for port, space, size in (
        (load.gelu_table, Space.GELU_TABLE, 1),
        (load.softmax_table, Space.SOFTMAX_TABLE, 4),
    ):
        if ctx.get(port.valid):
            at, value = ctx.get(port.payload.addr) * size, ctx.get(port.payload.data)
            spaces[space][at : at + size] = list(value.to_bytes(size, "little"))
    if ctx.get(load.norm_table.valid):
        at = ctx.get(load.norm_table.payload.addr) * hw.norm_lanes * 8
        for n in range(hw.norm_lanes):
            lane = ctx.get(load.norm_table.payload.data[n])
            channel = [lane.gamma & 0xFFFF, lane.beta & 0xFFFFFF, lane.factor]
            spaces[Space.NORM_TABLE][at + 8 * n : at + 8 * n + 8] = [
                *channel[0].to_bytes(2, "little"),
                *channel[1].to_bytes(3, "little"), 0, channel[2], 0,
            ]  # fmt: skip


def contents(seed: int, size: int = 1 << 14) -> bytearray:
    return bytearray(np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes())


def compare(hw, instructions, memory: Memory, **options):
    got = {s: np.zeros(space_bytes(hw, s), np.uint8) for s in Space}
    want = {s: a.copy() for s, a in got.items()}
    for i in instructions:
        expected(i, memory.data, want)
    result = run(hw, instructions, memory, got, **options)
    for space in Space:
        assert np.array_equal(got[space], want[space]), space.name
    return result


def copy(space: Space, chunk: int, seed: int, limit: int) -> Instruction:
    """A random instruction of up to 2 x 2 x 3 lines, everything a multiple of the chunk."""
    rng, size = np.random.default_rng(seed), 1 << chunk
    piece = int(rng.integers(1, 12)) * size
    pieces = int(rng.integers(1, 5))
    n2, n1, n0 = (int(n) for n in rng.integers(1, 4, 3))
    room = limit // (n2 * n1 * n0 * pieces * piece)
    assert room >= 1
    return Instruction(
        Opcode.LOAD,
        {
            "space": space, "flip": int(rng.integers(2)), "chunk": chunk,
            "address": int(rng.integers(0, 40)) * size, "base": int(rng.integers(0, 2)) * size,
            "count2": n2, "count1": n1, "count0": n0, "pieces": pieces, "piece": piece,
            "from2": int(rng.integers(0, 90)) * size, "from1": int(rng.integers(0, 60)) * size,
            "from0": int(rng.integers(0, 70)) * size,
            "to2": n1 * n0 * pieces * piece, "to1": n0 * pieces * piece, "to0": piece,
            "to_piece": n0 * piece, "credit": int(rng.integers(1, 4000)),
        },
    )  # fmt: skip


RUNS = [
    pytest.param(hw, stall, marks=pytest.mark.slow if stall and hw in (BASE, LARGE) else (),
                 id=f"{hw.name}-{'stalls' if stall else 'steady'}")
    for hw in (SMALL, ECP5_85K, BASE, LARGE)
    for stall in (0.0, 0.5)
]  # fmt: skip


@pytest.mark.parametrize(("hw", "stall"), RUNS)
def test_copies(hw, stall):
    instructions = []
    for space, word in ((Space.ACTS, hw.rows), (Space.STREAM, hw.stream_bytes)):
        smallest = 1 if space is Space.STREAM else 0
        widest = min(hw.bus_bytes, word).bit_length() - 1
        instructions += [
            copy(space, n, 7 * n + hw.bus, 1 << 20) for n in range(smallest, widest + 1)
        ]
    memory = Memory(contents(1), hw.bus_bytes, MAP, stall, latency=1 + int(40 * stall))
    credits, errors, _ = compare(hw, instructions, memory, refuse=stall, rival=stall, seed=hw.bus)
    assert credits == [i.credit for i in instructions for _ in range(i.count2)]
    assert not errors


@pytest.mark.parametrize("hw", [SMALL, ECP5_85K, BASE], ids=lambda hw: hw.name)
def test_tables(hw):
    data = contents(2)
    norm = np.frombuffer(bytes(data), np.uint8).copy()
    norm[5::8], norm[7::8] = 0, 0  # beta has 24 bits, a byte is unused
    norm[6::8] &= 3  # the factor
    norm[3::4][1::2] = 0
    exp = norm.copy()
    exp[3::4] = 0
    if entry_bits(hw.attention) < 8:  # codes alone: the low bits of each entry
        exp[1::4], exp[2::4], exp[::4] = 0, 0, exp[::4] & (1 << entry_bits(hw.attention)) - 1

    def table(space, chunk, piece, base=0):
        fields = {"space": space, "chunk": chunk, "base": base, "piece": piece, "pieces": 1,
                  "count2": 1, "count1": 1, "count0": 1, "credit": 1}  # fmt: skip
        return Instruction(Opcode.LOAD, fields)

    chunk = min(hw.bus_bytes, 8 * hw.norm_lanes).bit_length() - 1
    entry = 8 * hw.norm_lanes
    memory = Memory(bytearray(norm.tobytes()), hw.bus_bytes, MAP, 0.2)
    compare(hw, [table(Space.NORM_TABLE, chunk, 192 * 8, 2 * entry),
                 table(Space.NORM_TABLE, 3, 4 * entry)], memory)  # fmt: skip
    memory = Memory(bytearray(exp.tobytes()), hw.bus_bytes, MAP, 0.2)
    compare(hw, [table(Space.SOFTMAX_TABLE, 2, 1024)], memory)
    memory = Memory(data, hw.bus_bytes, MAP)
    compare(hw, [table(Space.GELU_TABLE, 0, 4096)], memory)


def line(piece: int, **fields) -> Instruction:
    return Instruction(
        Opcode.LOAD,
        {"space": Space.ACTS, "chunk": 2, "count2": 1, "count1": 1, "count0": 1, "pieces": 1,
         "piece": piece, "credit": 1, **fields},
    )  # fmt: skip


def test_timing():
    """The first AR after the instruction, and a chunk a cycle without stalls."""
    memory = Memory(contents(3), 8, MAP)
    _, _, first = compare(SMALL, [line(1024)], memory)
    assert first == [LATENCY + REQUEST]
    assert memory.cycle == LATENCY + REQUEST + 1 + 3 + 1024 // 4 + 2


def test_waits():
    """Nothing is read before both counts are reached."""
    dut = System(SMALL)
    i = line(64, wait0_unit=Unit.NORM, wait0_count=5, wait1_unit=Unit.EPILOGUE, wait1_count=9)
    memory = Memory(contents(4), 8, MAP)

    async def process(ctx):
        load = dut.load
        ctx.set(dut.read.base, MAP)
        ctx.set(dut.read.size, 4096)
        ctx.set(load.i.payload, fields_of(load.i.payload.shape(), i.fields))
        ctx.set(load.i.valid, 1)
        ctx.set(load.acts.ready, 1)
        for norm, epilogue, asked in ((0, 0, 0), (4, 20, 0), (6, 8, 0), (5, 9, 1)):
            ctx.set(load.progress.norm, norm)
            ctx.set(load.progress.epilogue, epilogue)
            for _ in range(2 * LATENCY):
                memory_cycle(ctx, [dut.read.axi], memory)
                await ctx.tick()
            assert len(memory.reads) == asked

    simulate(dut, process)


@pytest.mark.parametrize(
    ("fields", "bad", "error"),
    [({"address": 4096 - 128}, None, Error.ADDRESS),
     ({"address": 0xFFFFFF00}, None, Error.ADDRESS),
     ({"address": 512}, MAP + 512, Error.READ)],
)  # fmt: skip
def test_errors(fields, bad, error):
    memory = Memory(contents(5, 4096), 8, MAP)
    memory.bad_reads.add(bad)
    _, errors, _ = run(SMALL, [line(256, **fields)], memory, {s: np.zeros(1 << 16) for s in Space})
    assert errors == [1 << error]
    if error is Error.ADDRESS:
        assert all(address < MAP + 4096 for address, _ in memory.reads)
