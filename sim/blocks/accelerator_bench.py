"""The cocotb tests of the whole accelerator: registers, bursts, errors, interrupt, soft reset.

Icarus runs the small network of sim/networks/smallest.py from pixels to logits between the memory
and the register models of sim/bus/axi.py, which check the accelerator's manners on the bus in every
cycle. sim/blocks/accelerator.py says what goes wrong in which case; `sim.blocks.runner` starts
this.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from fqvit_hw.machine.interpreter import Machine
from fqvit_hw.machine.isa import Error
from fqvit_hw.machine.registers import REGISTERS, Counter, Register, bit, offset, shape

from ..bus.axi import Memory, Registers
from ..bus.host import BUSY, DONE_IRQ, ERROR_IRQ, SOFT_RESET, START, Host
from . import accelerator
from .accelerator import WINDOW, Case

HW = accelerator.CONFIGURATIONS[os.environ["FQVIT_CONFIG"]]
SIZE = os.environ["FQVIT_SIZE"]
ONLY = os.environ.get("FQVIT_CASE")
FLIP = os.environ.get("FQVIT_FLIP") == "1"  # negative control: one wrong bit in the memory
RESULTS = Path(os.environ["FQVIT_RESULTS"])

PROGRAM, IMAGES, LOGITS = accelerator.program(HW)
STALLS = (0.1, 0.3, 0.6)  # in turn
LATENCY = 30  # with stalls
UNTOUCHED = 0xA5  # what the logits are before a run


class Ports:
    """The device's outputs with a prefix, read when asked for."""

    def __init__(self, dut, prefix: str, names):
        self.handles = {name: dut[f"{prefix}_{name}"] for name in names}

    def __contains__(self, name: str) -> bool:
        return name in self.handles

    def __getitem__(self, name: str) -> int:
        return int(self.handles[name].value)


class Bench(Host):
    """The device between memory and registers; counts logits and register values compared."""

    def __init__(self, dut):
        super().__init__(Memory(bytearray(PROGRAM.size), HW.bus_bytes, WINDOW), Registers())
        self.dut, self.cycles, self.beats = dut, 0, 0
        self.axi = Ports(dut, "m_axi", Memory.OUTPUTS)
        self.axil = Ports(dut, "s_axil", Registers.OUTPUTS)
        self.driven = {}  # what is on the inputs

    async def start(self) -> None:
        Clock(self.dut.clk, 10, unit="ns").start()
        self.drive()
        self.dut.rst.value = 1
        for _ in range(2):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    def drive(self) -> None:
        inputs = {f"m_axi_{name}": value for name, value in self.memory.drive().items()}
        inputs |= {f"s_axil_{name}": value for name, value in self.registers.drive().items()}
        for name, value in inputs.items():
            if self.driven.get(name) != value:
                self.dut[name].value = self.driven[name] = value

    async def cycle(self) -> None:
        self.drive()
        await RisingEdge(self.dut.clk)  # the outputs are those of before the edge
        self.memory.sample(self.axi)
        self.registers.sample(self.axil)
        self.irq = int(self.dut.irq.value)
        self.cycles += 1

    async def expect(self, register: int, value: int) -> None:
        got = await self.get(register)
        if got != value:
            raise AssertionError(f"register {register:#x} is {got:#x}, expected {value:#x}")
        self.beats += 1

    def stall(self, stall: float, latency: int, seed: int) -> None:
        """From now on; between two runs."""
        for model in (self.memory, self.registers):
            model.stall = stall
            model.rng.seed(seed)
        self.memory.latency = latency

    # --- runs

    def fill(self, image: int, case: Case | None = None) -> None:
        """The memory as the host leaves it before a run."""
        data = PROGRAM.memory(IMAGES[image])
        data[PROGRAM.output_address :][: PROGRAM.output_bytes] = UNTOUCHED
        if FLIP:
            data[PROGRAM.regions["head weights"].address] ^= 4  # a bit of a bias
        self.memory.data[:] = data.tobytes()
        bad_reads, bad_writes = (), ()
        if case is not None:
            at, raw = case.patch
            self.memory.data[at : at + len(raw)] = raw
            bad_reads, bad_writes = case.bad_reads, case.bad_writes
        self.memory.bad_reads = {WINDOW + at for at in bad_reads}
        self.memory.bad_writes = {WINDOW + at for at in bad_writes}
        self.memory.reads.clear()
        self.memory.writes.clear()

    async def clean_run(self, image: int) -> list[int]:
        """A run without an error: logits, STATUS, counters. Returns the counters."""
        await self.prepare(PROGRAM.entry)
        self.fill(image)
        status = await self.run()
        fetched = len(PROGRAM.instructions) % (1 << 16)
        layout = REGISTERS[Register.STATUS].layout
        if status != layout.word({"done": 1, "fetched": fetched}):
            code = layout.values(status)["code"]
            raise AssertionError(f"STATUS is {status:#x}: {Error(code).name}")
        logits = PROGRAM.unpack(self.memory.data[PROGRAM.output_address :])
        for n, (want, got) in enumerate(zip(LOGITS[image], logits, strict=True)):
            if want != got:
                raise AssertionError(f"logit {n} differs: expected {want}, got {got}")
            self.beats += 1
        counters = await self.counters()
        self.check_counters(counters, image)
        assert self.memory.quiet
        return counters

    def check_counters(self, counters: list[int], image: int) -> None:
        """What holds with every stall: each counter against who else knows."""
        model = Machine(HW, PROGRAM.memory(IMAGES[image])).run(PROGRAM.entry)
        bus = HW.bus_bytes
        seen = {
            Counter.ARRAY_BUSY: model.array,
            Counter.BYTES_READ: sum(beats for _, beats in self.memory.reads) * bus,
            Counter.BYTES_WRITTEN: sum(beats for _, beats in self.memory.writes) * bus,
            Counter.WEIGHT_BYTES: model.weights,
            Counter.CYCLES: sum(counters[Counter.ARRAY_BUSY : Counter.IDLE + 1]),
        }
        for n, value in seen.items():
            if counters[n] != value:
                raise AssertionError(f"counter {n.name} is {counters[n]}, expected {value}")
            self.beats += 1
        assert counters[Counter.BYTES_WRITTEN] == model.written

    async def failing_run(self, case: Case) -> None:
        """The run ends with the case's error, all of memory's answers are in, nothing follows."""
        await self.prepare(PROGRAM.entry, case.size)
        self.fill(0, case)
        status = await self.run()
        ended = REGISTERS[Register.STATUS].layout.values(status)
        del ended["fetched"]
        if ended != {"busy": 0, "done": 0, "error": 1, "code": case.error}:
            raise AssertionError(f"STATUS is {status:#x}, expected error {case.error.name}")
        assert self.memory.quiet
        size = PROGRAM.size if case.size is None else case.size
        for address, beats in self.memory.reads + self.memory.writes:
            assert address + beats * HW.bus_bytes <= WINDOW + size
        raw = self.memory.data[PROGRAM.output_address :][: PROGRAM.output_bytes]
        assert case.bad_writes or set(raw) == {UNTOUCHED}, "logits of a run with an error"
        self.beats += 1

    async def cut_off(self, moment) -> None:
        """A soft reset in mid-run: everything under way on the bus ends, nothing else happens."""
        await self.prepare(PROGRAM.entry)
        self.fill(1)
        await self.write(Register.CONTROL, START)
        await self.until(lambda: moment(self.memory))
        assert not self.irq
        frozen = moment in HELD
        self.memory.stopped = frozen  # what is under way stays so until after the reset
        await self.write(Register.CONTROL, SOFT_RESET)
        if frozen:
            assert await self.get(Register.STATUS) & BUSY
            self.memory.stopped = False
        await self.soft_reset()
        assert self.memory.quiet and not self.irq
        fetched = await self.get(Register.STATUS) & bit(Register.STATUS, "fetched")
        await self.expect(Register.STATUS, fetched)
        await self.expect(Register.IRQ_STATUS, 0)
        raw = self.memory.data[PROGRAM.output_address :][: PROGRAM.output_bytes]
        written = set(raw[-HW.bus_bytes :] if moment is logits_under_way else raw)
        assert written == {UNTOUCHED}, "logits of a run that was cut off"


def under_way(memory: Memory) -> bool:
    """A write burst is asked for and not complete."""
    return bool(memory.bursts)


def logits_under_way(memory: Memory) -> bool:
    return any(a == WINDOW + PROGRAM.output_address for a, _ in memory.bursts)


def asked(memory: Memory) -> bool:
    """Many reads are not answered."""
    return len(memory.answers) > 8 and len(memory.reads) > 20


def reads(count: int):
    return lambda memory: len(memory.reads) >= count


# While these last, memory stands still for the reset to come in between.
HELD = (under_way, logits_under_way, asked)
MOMENTS = [under_way, logits_under_way, asked]  # size "small"
if SIZE == "full":
    MOMENTS += [reads(n) for n in range(0, 60, 7)]  # a run has some more


async def registers(bench: Bench) -> None:
    """Reset values, all orders of AW and W, strobes, what is fixed, what keeps while busy."""
    for register in range(0, offset(max(Counter)) + 16, 4):
        await bench.expect(register, shape(HW) if register == Register.SHAPE else 0)
    for n, order in enumerate(("together", "address first", "data first")):
        for strobe in (0b1111, 0b0101, 0b1000, 0b0000):
            await bench.write(Register.SIZE, 0xFFFFFFFF)
            mask = sum(255 << 8 * k for k in range(4) if strobe >> k & 1)
            await bench.write(Register.SIZE, 0x12345670 + n, strobe, order)
            await bench.expect(Register.SIZE, 0x12345670 + n & mask | 0xFFFFFFFF & ~mask)
    for register, value in (
        (Register.BASE, 0xFFFFFF00), (Register.BASE_HIGH, 0xFF), (Register.PROGRAM, 0xFFFFFF00),
        (Register.IRQ_ENABLE, 3), (Register.IRQ_STATUS, 0), (Register.SHAPE, shape(HW)), (0x3C, 0),
        (Register.STATUS, 0), (Register.COUNTER, 0),
    ):  # fmt: skip
        await bench.write(register, 0xFFFFFFFF)
        await bench.expect(register, value)
    await bench.write(Register.CONTROL, START | SOFT_RESET)  # the reset wins
    await bench.expect(Register.STATUS, 0)


async def interrupts(bench: Bench) -> None:
    """What registers keep while busy; the interrupt's enable bits and clearing."""
    # in mid-run, while memory answers nothing
    await bench.prepare(PROGRAM.entry)
    await bench.write(Register.IRQ_ENABLE, ERROR_IRQ)
    bench.fill(0)
    bench.memory.stopped = True
    await bench.write(Register.CONTROL, START)
    for register, value in (
        (Register.BASE, WINDOW & 0xFFFFFFFF), (Register.BASE_HIGH, WINDOW >> 32),
        (Register.SIZE, PROGRAM.size), (Register.PROGRAM, PROGRAM.entry), (Register.STATUS, 1),
    ):  # fmt: skip
        await bench.write(register, 0)
        await bench.expect(register, value)
    await bench.write(Register.CONTROL, START)  # of a busy machine: nothing
    bench.memory.stopped = False
    while await bench.get(Register.STATUS) & BUSY:
        await bench.cycle()

    # the interrupt: enable, and clear one bit at a time
    for register, value, irq in (
        (None, 0, 0), (Register.IRQ_ENABLE, DONE_IRQ, 1), (Register.IRQ_STATUS, ERROR_IRQ, 1),
        (Register.IRQ_ENABLE, 0, 0), (Register.IRQ_ENABLE, DONE_IRQ, 1),
        (Register.IRQ_STATUS, DONE_IRQ, 0),
    ):  # fmt: skip
        if register is not None:
            await bench.write(register, value)
            await bench.cycle()
        cleared = register == Register.IRQ_STATUS and value == DONE_IRQ
        await bench.expect(Register.IRQ_STATUS, 0 if cleared else DONE_IRQ)
        assert bench.irq == irq


def chosen() -> list[Case]:
    every = accelerator.transactions(HW, SIZE)
    return [c for c in every if (c.name == ONLY if ONLY else c.left_out is None)]


async def run_all(dut, mode: str) -> None:
    bench, done, reference = Bench(dut), [], None
    await bench.start()
    if mode == "stalls":
        bench.stall(STALLS[-1], LATENCY, seed=1)
    await registers(bench)
    if mode == "steady" and SIZE == "full":
        await interrupts(bench)
    for n, case in enumerate(chosen()):
        if mode == "stalls":
            bench.stall(STALLS[n % len(STALLS)], LATENCY, seed=n)
        start = bench.cycles
        try:
            if mode == "reset":
                for moment in MOMENTS[n % len(chosen()) :: len(chosen())]:
                    await bench.cut_off(moment)
            elif case.error:
                await bench.failing_run(case)
            counters = await bench.clean_run(0)
            if mode == "steady" and not case.error:
                await bench.clean_run(1)  # another image takes the same cycles
            reference = reference or counters
            if mode != "stalls" and counters != reference:
                raise AssertionError(f"counters are {counters}, at first {reference}")
        except (AssertionError, TimeoutError) as error:
            raise AssertionError(f"{case.name}: {error}") from error
        done.append({"case": case.name, "cycles": bench.cycles - start})
    every = accelerator.transactions(HW, SIZE)
    left_out = {} if ONLY else {c.name: c.left_out for c in every if c.left_out}
    line = {"mode": mode, "beats": bench.beats, "cycles": bench.cycles, "cases": done}
    with RESULTS.open("a") as file:
        file.write(json.dumps(line | {"left_out": left_out}) + "\n")


@cocotb.test()
async def steady(dut):
    """Memory that is never busy: every run takes the same cycles, whatever went wrong before."""
    await run_all(dut, "steady")


@cocotb.test()
async def stalls(dut):
    """Random stalls on every channel."""
    await run_all(dut, "stalls")


@cocotb.test()
async def reset_in_mid_row(dut):
    """Before each case, soft resets in mid-run at moments of its own."""
    await run_all(dut, "reset")
