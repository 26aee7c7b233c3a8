"""Registers, sequencer, LOAD, STORE and both sides of the bus together, without the arithmetic:
programs that copy memory through the chip, errors, soft reset in mid-run and clean second runs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Cat, Elaboratable, Module, ResetInserter, Signal
from amaranth.lib import wiring

from fqvit_hw.machine.hardware import BASE, ECP5_85K, LARGE, TINY
from fqvit_hw.machine.isa import Error, Instruction, Opcode, Space, Unit
from fqvit_hw.machine.registers import Register
from fqvit_hw.rtl.accelerator.axi_read import AxiRead
from fqvit_hw.rtl.accelerator.axi_write import AxiWrite
from fqvit_hw.rtl.accelerator.control import Control
from fqvit_hw.rtl.accelerator.load import Load
from fqvit_hw.rtl.accelerator.scratchpad import Scratchpad
from fqvit_hw.rtl.accelerator.sequencer import UNITS, Sequencer
from fqvit_hw.rtl.accelerator.store import Store
from fqvit_hw.sim.blocks.stream import pack
from fqvit_hw.sim.bus.axi import Memory, Registers
from fqvit_hw.sim.bus.host import Host
from tests.rtl.bus import memory_cycle, simulate
from tests.rtl.instructions import fields_of

MAP = 0x12_3456_0000
ACROSS = (0x5A << 32) - 0x4000  # most of what is copied lies before 4 GiB, its copies behind
PROGRAM = 0x100
SMALL = replace(TINY, acts=256, stream=128)


class Copier(Elaboratable):
    """The machine with a LOAD and a STORE unit; `taken` counts what went to each other queue."""

    def __init__(self, hw, watchdog=1000):
        self.hw = hw
        self.control = Control(hw, watchdog)
        self.read, self.write = AxiRead(hw, 2), AxiWrite(hw)
        self.sequencer, self.load, self.store = Sequencer(hw), Load(hw), Store(hw)
        self.others = [name for name in UNITS if name not in ("load", "store")]
        self.blocked = Signal()  # the other units take nothing
        self.refuse = Signal(2)  # a port of a higher priority reads, writes

    def elaborate(self, platform):
        m = Module()
        hw, control, reset = self.hw, self.control, self.control.reset
        m.submodules.control, m.submodules.read = control, self.read
        m.submodules.write = self.write
        for name in ("sequencer", "load", "store"):
            m.submodules[name] = ResetInserter(reset)(getattr(self, name))
        sequencer, load, store = self.sequencer, self.load, self.store
        wiring.connect(m, sequencer.reader, self.read.clients[0])
        wiring.connect(m, load.reader, self.read.clients[1])
        wiring.connect(m, store.writer, self.write.client)
        wiring.connect(m, sequencer.load, load.i)
        wiring.connect(m, sequencer.store, store.i)
        for name, granularity, width in (("acts", 8, hw.rows * 8), ("stream", 16, hw.cols * 16)):
            pad = Scratchpad(getattr(hw, name), width, granularity, 2, 2)
            m.submodules[name] = pad
            wiring.connect(m, getattr(load, name), pad.writers[1])
            wiring.connect(m, getattr(store, name), pad.readers[1])
            m.d.comb += [pad.writers[0].valid.eq(self.refuse[0])]
            m.d.comb += [pad.readers[0].valid.eq(self.refuse[1])]
        m.submodules.counts = ResetInserter(reset)(counts := Module())
        for unit in (load, store):
            counts.d.sync += [
                unit.progress.load.eq(unit.progress.load + load.credit),
                unit.progress.store.eq(unit.progress.store + store.finished),
            ]
        for name in self.others:
            m.d.comb += getattr(sequencer, name).ready.eq(~self.blocked)
        read, write = self.read, self.write
        m.d.comb += [
            sequencer.start.eq(control.start),
            sequencer.program.eq(control.program),
            sequencer.size.eq(control.size),
            sequencer.idle.eq(load.idle & store.idle),
            control.done.eq(sequencer.done),
            control.fetched.eq(sequencer.fetched),
            control.errors.eq(read.errors | write.errors | sequencer.errors),
            control.read_idle.eq(read.idle),
            control.write_idle.eq(write.idle),
            control.read_beat.eq(read.beats.any()),
            control.write_beat.eq(write.beat),
            control.array_state.eq(7),
            control.moved.eq(Cat(read.beats, write.beat, load.credit).any() | store.finished),
        ]
        for side in (read, write):
            m.d.comb += [
                side.base.eq(control.base),
                side.size.eq(control.size),
                side.drain.eq(control.drain),
            ]
        return m


class CopierHost(Host):
    """Steps the machine, its memory and its registers."""

    def __init__(self, ctx, dut: Copier, memory: Memory, stall: float = 0.0):
        super().__init__(memory, Registers(stall))
        self.ctx, self.dut = ctx, dut
        self.rng, self.stall = np.random.default_rng(1), stall
        self.taken = {name: [] for name in dut.others}

    async def cycle(self) -> None:
        ctx, dut = self.ctx, self.dut
        axil = dut.control.axil
        for name, value in self.registers.drive().items():
            ctx.set(getattr(axil, name), value)
        if self.stall:
            ctx.set(dut.refuse, int(self.rng.integers(4)))
            ctx.set(dut.blocked, int(self.rng.integers(2)))
        self.registers.sample({n: ctx.get(getattr(axil, n)) for n in Registers.OUTPUTS})
        memory_cycle(ctx, (dut.read.axi, dut.write.axi), self.memory)
        for name in dut.others:
            port = getattr(dut.sequencer, name)
            if ctx.get(port.valid) and ctx.get(port.ready):
                self.taken[name].append(ctx.get(port.payload.as_value()))
        await ctx.tick()
        self.irq = ctx.get(dut.control.irq)


def load(space: Space, address: int, size: int, word: int, chunk: int, **more) -> Instruction:
    fields = {"space": space, "address": address, "count2": 1, "count1": 1, "count0": 1,
              "pieces": 1, "piece": size, "chunk": chunk, "credit": 1}  # fmt: skip
    return Instruction(Opcode.LOAD, fields | more)


def copies(hw) -> tuple[list[Instruction], list[tuple[int, int, int]]]:
    """A program, and what it copies: (from, to, bytes)."""
    bus, acts, stream = hw.bus_bytes, hw.rows, hw.stream_bytes
    lines, size = 3, 5 * max(bus, stream)
    total = lines * size
    unaligned = 4096 + 4 * 3
    chunk = min(acts, bus).bit_length() - 1
    wide = min(stream, bus).bit_length() - 1
    program = [
        load(Space.ACTS, 4096, total, acts, min(chunk, 2), base=0),
        load(Space.STREAM, 8192, total, stream, wide),
        load(Space.ACTS, unaligned, acts * 3, acts, 2, base=acts * 128),
    ]
    after = {"wait0_unit": Unit.LOAD, "wait0_count": 3}
    program += [
        Instruction(Opcode.NORM, {"rows": 5, "eps": 12345678901, "zero": -7}),
        Instruction(Opcode.STORE, after | {
            "space": Space.ACTS, "base": 0, "stride": size // acts, "lines": lines,
            "words": size // acts, "address": 12288 + 3 * bus, "to0": size + 7 * bus}),
        Instruction(Opcode.GEMM, {"rows": 9, "columns": 77, "add_zero": -3, "stream16": 1}),
        Instruction(Opcode.STORE, after | {
            "space": Space.STREAM, "base": 0, "stride": 0, "lines": 2,
            "words": total // stream, "address": 20480, "to0": 4096,
            "wait1_unit": Unit.STORE, "wait1_count": lines}),
        Instruction(Opcode.STORE, after | {
            "space": Space.STREAM, "base": 1, "stride": 1, "lines": 1,
            "words": max(bus // stream, 1), "address": 20480 + 3072, "to0": 0}),
        Instruction(Opcode.GEMM, {"rows": 10}),
        Instruction(Opcode.NORM, {"rows": 6}),
        Instruction(Opcode.END, {}),
    ]  # fmt: skip
    moved = [(4096 + n * size, 12288 + 3 * bus + n * (size + 7 * bus), size) for n in range(lines)]
    moved += [(8192, 20480, total), (8192, 20480 + 4096, total)]
    moved += [(8192 + stream, 20480 + 3072, max(bus, stream))]
    return program, moved


def contents(program, seed: int = 0, size: int = 1 << 15) -> bytearray:
    data = bytearray(np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes())
    code = b"".join(i.encode() for i in program)
    data[PROGRAM : PROGRAM + len(code)] = code
    return data


def after_copies(data: bytes, moved) -> bytearray:
    want = bytearray(data)
    for source, target, size in moved:
        want[target : target + size] = data[source : source + size]
    return want


class PromptMemory(Memory):
    """STORE asks for a burst when all its beats are there: between them W never waits."""

    inside = False  # a burst

    def sample_writes(self, out):
        assert out["wvalid"] or not self.inside, "W: a gap in a burst"
        super().sample_writes(out)
        if out["wvalid"] and self.ready["wready"]:
            self.inside = not out["wlast"]


CONFIGURATIONS = [SMALL, *(replace(hw, acts=256, stream=128) for hw in (ECP5_85K, BASE, LARGE))]


RUNS = [
    pytest.param(hw, stall, marks=pytest.mark.slow if hw.name in slow else (),
                 id=f"{hw.name}-{name}")
    for name, stall, slow in (("steady", 0.0, ("base", "ecp5_85k")), ("stalls", 0.4, ("large",)))
    for hw in CONFIGURATIONS
]  # fmt: skip


@pytest.mark.parametrize(("hw", "stall"), RUNS)
def test_copies(hw, stall):
    """Twice in a row, at two places: the same bytes, the same counters without stalls."""
    program, moved = copies(hw)
    memory = PromptMemory(contents(program), hw.bus_bytes, MAP, stall, latency=1 + int(30 * stall))
    want = after_copies(memory.data, moved)
    fresh = bytes(memory.data)
    dut = Copier(hw)

    async def process(ctx):
        host = CopierHost(ctx, dut, memory, stall)
        seen = []
        for memory.base in (MAP, ACROSS):
            await host.prepare(PROGRAM)
            memory.data[:] = fresh
            status = await host.run()
            assert status == 2 | len(program) << 16
            assert memory.data == want
            seen.append(await host.counters())
            assert seen[-1][7] == seen[-1][0]  # every cycle counted as the state driven
            assert seen[-1][9] == sum(size for *_, size in moved)
        assert stall or seen[0] == seen[1]
        for name, (opcode, layout) in UNITS.items():
            if name in host.taken:
                sent = [i for i in program if i.opcode is opcode]
                words = [pack(layout, fields_of(layout, i.fields)) for i in sent]
                assert host.taken[name] == words * 2

    simulate(dut, process)


BAD_FIELDS = {  # copies()'s program: instruction and fields that ask for bursts which cannot be
    "store of no words": (4, {"words": 0}),
    "store of no memory": (4, {"space": Space.SOFTMAX_TABLE}),
    "load of no pieces": (1, {"pieces": 0}),
    "load of no bytes": (1, {"piece": 0}),
}
ERRORS = ["opcode", "address", "write address", "read", "write", "stuck", *BAD_FIELDS]


@pytest.mark.parametrize("error", ERRORS)
def test_errors(error):
    """The code and the count of instructions; then a clean run."""
    hw = SMALL
    program, moved = copies(hw)
    bad, code, fetched = list(program), Error.OPCODE, None
    if error == "stuck":
        bad[3:3] = [load(Space.ACTS, 0, 8, 4, 2, wait0_unit=Unit.NORM, wait0_count=1)]
        code = Error.STUCK
    elif error == "address":
        bad[1] = load(Space.ACTS, (1 << 15) - 64, 128, 4, 2)
        code = Error.ADDRESS
    elif error == "write address":
        store = next(n for n, i in enumerate(program) if i.opcode is Opcode.STORE)
        bad[store] = Instruction(Opcode.STORE, program[store].fields | {"address": 1 << 31})
        code = Error.ADDRESS
    elif error in BAD_FIELDS:
        n, fields = BAD_FIELDS[error]
        bad[n] = Instruction(bad[n].opcode, bad[n].fields | fields)
        code = Error.ADDRESS
    memory = Memory(contents(bad), hw.bus_bytes, MAP, 0.3, latency=20)
    if error == "opcode":
        memory.data[PROGRAM + 64 * 4] = 0xF
        fetched = 5
    elif error == "read":
        memory.bad_reads, code = {MAP + 8192}, Error.READ
    elif error == "write":
        memory.bad_writes, code = {MAP + 20480}, Error.WRITE
    dut = Copier(hw)

    async def process(ctx):
        host = CopierHost(ctx, dut, memory)
        await host.prepare(PROGRAM)
        status = await host.run()
        assert status & 0xFFFF == 4 | code << 8
        assert fetched in (None, status >> 16)
        assert memory.quiet
        memory.bad_reads, memory.bad_writes = set(), set()
        memory.data[:] = contents(program)
        want = after_copies(memory.data, moved)
        assert await host.run() == 2 | len(program) << 16
        assert memory.data == want

    simulate(dut, process)


@pytest.mark.parametrize("length", range(1, 10))
def test_a_program_that_ends_the_memory_map(length):
    """Wherever END lies in its burst: what lies beyond the memory map is not asked for."""
    program = [load(Space.ACTS, 0, 64, 4, 2)] * (length - 1) + [Instruction(Opcode.END, {})]
    code = b"".join(i.encode() for i in program)
    data = bytearray(PROGRAM) + code + bytes(-len(code) % 256)
    memory = Memory(data, SMALL.bus_bytes, MAP, latency=60)
    dut = Copier(SMALL)

    async def process(ctx):
        host = CopierHost(ctx, dut, memory)
        await host.prepare(PROGRAM)
        assert await host.run() == 2 | length << 16

    simulate(dut, process)


def test_a_program_without_end():
    """It runs to the end of the memory map, and no farther."""
    program = [load(Space.ACTS, 0, 64, 4, 2)] * 4
    data = bytearray(PROGRAM) + b"".join(i.encode() for i in program)
    memory = Memory(data, SMALL.bus_bytes, MAP, latency=60)
    dut = Copier(SMALL)

    async def process(ctx):
        host = CopierHost(ctx, dut, memory)
        await host.prepare(PROGRAM)
        assert await host.run() == 4 | Error.ADDRESS << 8 | 4 << 16
        assert memory.quiet

    simulate(dut, process)


@pytest.mark.parametrize("after", [30, 250, 340])
def test_soft_reset(after):
    """In mid-run: idle when the bus is quiet, no interrupt, then a clean run."""
    program, moved = copies(SMALL)
    memory = Memory(contents(program), SMALL.bus_bytes, MAP, 0.3, latency=15)
    dut = Copier(SMALL)

    async def process(ctx):
        host = CopierHost(ctx, dut, memory)
        await host.prepare(PROGRAM)
        await host.write(Register.CONTROL, 1)
        for _ in range(after):
            await host.cycle()
        assert await host.get(Register.STATUS) & 7 == 1
        await host.write(Register.CONTROL, 2)
        await host.until(lambda: not ctx.get(dut.control.busy))
        assert memory.quiet and not ctx.get(dut.control.irq)
        assert await host.get(Register.STATUS) & 0xFFFF == 0
        memory.data[:] = contents(program)
        want = after_copies(memory.data, moved)
        assert await host.run() == 2 | len(program) << 16
        assert memory.data == want

    simulate(dut, process)


def test_registers():
    """All orders of AW and W, strobes, what is fixed, what keeps still while busy, interrupts."""
    program, _ = copies(SMALL)
    memory = Memory(contents(program), SMALL.bus_bytes, MAP)
    dut = Copier(SMALL)

    async def process(ctx):
        host = CopierHost(ctx, dut, memory)
        for stall in (0.0, 0.6):
            host.registers.stall = stall
            for n, order in enumerate(("together", "address first", "data first")):
                await host.write(Register.SIZE, 0x12345600 + n, order=order)
                assert await host.get(Register.SIZE) == 0x12345600 + n
        await host.write(Register.SIZE, 0xAABBCCDD, strobe=0b0101)
        assert await host.get(Register.SIZE) == 0x12BB56DD
        await host.write(Register.BASE, 0xFFFFFFFF)
        await host.write(Register.BASE_HIGH, 0xFFFFFFFF)
        assert await host.get(Register.BASE) == 0xFFFFFF00
        assert await host.get(Register.BASE_HIGH) == 0xFF
        assert await host.get(Register.SHAPE) == 4 | 4 << 8 | 1 << 16 | 8 << 24
        await host.write(Register.SHAPE, 0)
        await host.write(0x3C, 5)
        assert await host.get(0x3C) == 0
        assert await host.get(Register.STATUS) == 0
        await host.prepare(PROGRAM)
        memory.stopped = True
        await host.write(Register.CONTROL, 1)
        for register in (Register.BASE, Register.SIZE, Register.PROGRAM):
            await host.write(register, 0x100000)
        assert await host.get(Register.STATUS) & 7 == 1
        assert await host.get(Register.BASE) == MAP & 0xFFFFFFFF
        assert await host.get(Register.SIZE) == len(memory.data)
        assert await host.get(Register.PROGRAM) == PROGRAM
        await host.write(Register.IRQ_ENABLE, 2)  # not for done
        memory.stopped = False
        await host.until(lambda: not ctx.get(dut.control.busy))
        assert await host.get(Register.IRQ_STATUS) == 1 and not ctx.get(dut.control.irq)
        await host.write(Register.IRQ_ENABLE, 1)
        assert ctx.get(dut.control.irq)
        await host.write(Register.IRQ_STATUS, 2)  # clears the other
        assert ctx.get(dut.control.irq)
        await host.write(Register.IRQ_STATUS, 1)
        assert not ctx.get(dut.control.irq)

    simulate(dut, process)
