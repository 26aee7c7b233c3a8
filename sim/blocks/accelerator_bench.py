"""The bench of the whole accelerator: registers, bursts, errors, interrupt, soft reset.

Icarus runs the small network of sim/networks/smallest.py from pixels to logits between the memory
and the register models of sim/bus/axi.py, which check the accelerator's manners on the bus in every
cycle. sim/blocks/accelerator.py says what goes wrong in which case.

Each run has its memory map at another place on the bus.

steady: memory is never busy, and every run takes the same cycles, whatever went wrong before;
stalls: random ones on every channel; reset: before each case, soft resets in mid-run at moments of
its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fqvit_hw.machine.interpreter import Machine
from fqvit_hw.machine.isa import Error
from fqvit_hw.machine.registers import REGISTERS, Counter, Register, bit, offset, shape

from ..bus.axi import Memory, Registers, bases
from ..bus.host import BUSY, DONE_IRQ, ERROR_IRQ, SOFT_RESET, START, Host
from . import accelerator
from .accelerator import Scenario
from .bench import Bench
from .request import Request

STALLS = (0.1, 0.3, 0.6)  # in turn
LATENCY = 30  # with stalls
UNTOUCHED = 0xA5  # what the logits are before a run


class Ports(Mapping[str, int]):
    """The device's outputs with a prefix, read when asked for."""

    def __init__(self, dut, prefix: str, names):
        self.handles = {name: dut[f"{prefix}_{name}"] for name in names}

    def __contains__(self, name: str) -> bool:
        return name in self.handles

    def __getitem__(self, name: str) -> int:
        return int(self.handles[name].value)

    def __iter__(self) -> Iterator[str]:
        return iter(self.handles)

    def __len__(self) -> int:
        return len(self.handles)


class AcceleratorBench(Bench, Host):
    """The device between memory and registers; counts logits and register values compared."""

    def __init__(self, dut: Any, block: Any, request: Request, mode: str, cases: list[Scenario]):
        Bench.__init__(self, dut, block, request, mode, cases)
        self.program, self.images, self.logits = accelerator.program(self.config)
        self.bases = itertools.cycle(bases(self.program.size))
        memory = Memory(bytearray(self.program.size), self.config.bus_bytes)
        Host.__init__(self, memory, Registers())
        self.axi = Ports(dut, "m_axi", Memory.OUTPUTS)
        self.axil = Ports(dut, "s_axil", Registers.OUTPUTS)
        self.driven: dict[str, int] = {}  # what is on the inputs
        self.reference: list[int] | None = None  # the counters of the first clean run
        self.moments = [self.under_way, self.logits_under_way, self.asked]
        # While these last, memory stands still for the reset to come in between.
        self.held = tuple(self.moments)
        if request.size == "full":
            self.moments += [self.reads(n) for n in range(0, 60, 7)]  # a run has some more

    def idle(self) -> None:
        self.drive()

    async def start(self) -> None:
        await super().start()
        if self.mode == "stalls":
            self.stall(STALLS[-1], LATENCY, seed=1)
        await self.check_registers()
        if self.mode == "steady" and self.request.size == "full":
            await self.check_interrupts()

    async def run_case(self, number: int, case: Scenario) -> int:
        if self.mode == "stalls":
            self.stall(STALLS[number % len(STALLS)], LATENCY, seed=number)
        start = self.cycles
        if self.mode == "reset":
            for moment in self.moments[number :: len(self.cases)]:
                await self.cut_off(moment)
        elif case.error:
            await self.failing_run(case)
        counters = await self.clean_run(0)
        if self.mode == "steady" and not case.error:
            await self.clean_run(1)  # another image takes the same cycles
        self.reference = self.reference or counters
        if self.mode != "stalls" and counters != self.reference:
            raise AssertionError(f"counters are {counters}, at first {self.reference}")
        return self.cycles - start

    def drive(self) -> None:
        inputs = {f"m_axi_{name}": value for name, value in self.memory.drive().items()}
        inputs |= {f"s_axil_{name}": value for name, value in self.registers.drive().items()}
        for name, value in inputs.items():
            if self.driven.get(name) != value:
                self.dut[name].value = self.driven[name] = value

    async def cycle(self) -> None:
        self.drive()
        await self.tick()  # the outputs are those of before the edge
        self.memory.sample(self.axi)
        self.registers.sample(self.axil)
        self.irq = int(self.dut.irq.value)

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

    async def prepare(self, program: int, size: int | None = None) -> None:
        self.memory.base = next(self.bases)
        await super().prepare(program, size)

    def fill(self, image: int, case: Scenario | None = None) -> None:
        """The memory as the host leaves it before a run."""
        data = self.program.memory(self.images[image])
        data[self.program.output_address :][: self.program.output_bytes] = UNTOUCHED
        if self.request.flip:
            data[self.program.regions["head weights"].address] ^= 4  # a bit of a bias
        self.memory.data[:] = data.tobytes()
        bad_reads, bad_writes = (), ()
        if case is not None:
            at, raw = case.patch
            self.memory.data[at : at + len(raw)] = raw
            bad_reads, bad_writes = case.bad_reads, case.bad_writes
        self.memory.bad_reads = {self.memory.base + at for at in bad_reads}
        self.memory.bad_writes = {self.memory.base + at for at in bad_writes}
        self.memory.reads.clear()
        self.memory.writes.clear()

    async def clean_run(self, image: int) -> list[int]:
        """A run without an error: logits, STATUS, counters. Returns the counters."""
        await self.prepare(self.program.entry)
        self.fill(image)
        status = await self.run()
        fetched = len(self.program.instructions) % (1 << 16)
        layout = REGISTERS[Register.STATUS].layout
        if status != layout.word({"done": 1, "fetched": fetched}):
            code = layout.values(status)["code"]
            raise AssertionError(f"STATUS is {status:#x}: {Error(code).name}")
        logits = self.program.unpack(self.memory.data[self.program.output_address :])
        for n, (want, got) in enumerate(zip(self.logits[image], logits, strict=True)):
            if want != got:
                raise AssertionError(f"logit {n} differs: expected {want}, got {got}")
            self.beats += 1
        counters = await self.counters()
        self.check_counters(counters, image)
        assert self.memory.quiet
        return counters

    def check_counters(self, counters: list[int], image: int) -> None:
        """What holds with every stall: each counter against who else knows."""
        memory = self.program.memory(self.images[image])
        model = Machine(self.config, memory).run(self.program.entry)
        bus = self.config.bus_bytes
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

    async def failing_run(self, case: Scenario) -> None:
        """The run ends with the case's error, all of memory's answers are in, nothing follows."""
        await self.prepare(self.program.entry, case.size)
        self.fill(0, case)
        status = await self.run()
        ended = REGISTERS[Register.STATUS].layout.values(status)
        del ended["fetched"]
        if ended != {"busy": 0, "done": 0, "error": 1, "code": case.error}:
            raise AssertionError(f"STATUS is {status:#x}, expected error {case.error.name}")
        assert self.memory.quiet
        size = self.program.size if case.size is None else case.size
        for address, beats in self.memory.reads + self.memory.writes:
            assert address + beats * self.config.bus_bytes <= self.memory.base + size
        raw = self.memory.data[self.program.output_address :][: self.program.output_bytes]
        assert case.bad_writes or set(raw) == {UNTOUCHED}, "logits of a run with an error"
        self.beats += 1

    async def cut_off(self, moment: Callable[[], bool]) -> None:
        """A soft reset in mid-run: everything under way on the bus ends, nothing else happens."""
        await self.prepare(self.program.entry)
        self.fill(1)
        await self.write(Register.CONTROL, START)
        await self.until(moment)
        assert not self.irq
        frozen = moment in self.held
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
        raw = self.memory.data[self.program.output_address :][: self.program.output_bytes]
        written = set(raw[-self.config.bus_bytes :] if moment == self.logits_under_way else raw)
        assert written == {UNTOUCHED}, "logits of a run that was cut off"

    # --- moments of a run, for soft resets

    def under_way(self) -> bool:
        """A write burst is asked for and not complete."""
        return bool(self.memory.bursts)

    def logits_under_way(self) -> bool:
        logits = self.memory.base + self.program.output_address
        return any(address == logits for address, _ in self.memory.bursts)

    def asked(self) -> bool:
        """Many reads are not answered."""
        return len(self.memory.answers) > 8 and len(self.memory.reads) > 20

    def reads(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.memory.reads) >= count

    # --- what needs no run of its own

    async def check_registers(self) -> None:
        """Reset values, all orders of AW and W, strobes, what is fixed, what keeps while busy."""
        built = shape(self.config)
        for register in range(0, offset(max(Counter)) + 16, 4):
            await self.expect(register, built if register == Register.SHAPE else 0)
        for n, order in enumerate(("together", "address first", "data first")):
            for strobe in (0b1111, 0b0101, 0b1000, 0b0000):
                await self.write(Register.SIZE, 0xFFFFFFFF)
                mask = sum(255 << 8 * k for k in range(4) if strobe >> k & 1)
                await self.write(Register.SIZE, 0x12345670 + n, strobe, order)
                await self.expect(Register.SIZE, 0x12345670 + n & mask | 0xFFFFFFFF & ~mask)
        for register, value in (
            (Register.BASE, 0xFFFFFF00), (Register.BASE_HIGH, 0xFF), (Register.PROGRAM, 0xFFFFFF00),
            (Register.IRQ_ENABLE, 3), (Register.IRQ_STATUS, 0), (Register.SHAPE, built), (0x3C, 0),
            (Register.STATUS, 0), (Register.COUNTER, 0),
        ):  # fmt: skip
            await self.write(register, 0xFFFFFFFF)
            await self.expect(register, value)
        await self.write(Register.CONTROL, START | SOFT_RESET)  # the reset wins
        await self.expect(Register.STATUS, 0)

    async def check_interrupts(self) -> None:
        """What registers keep while busy; the interrupt's enable bits and clearing."""
        # in mid-run, while memory answers nothing
        await self.prepare(self.program.entry)
        await self.write(Register.IRQ_ENABLE, ERROR_IRQ)
        self.fill(0)
        self.memory.stopped = True
        await self.write(Register.CONTROL, START)
        for register, value in (
            (Register.BASE, self.memory.base & 0xFFFFFFFF),
            (Register.BASE_HIGH, self.memory.base >> 32),
            (Register.SIZE, self.program.size), (Register.PROGRAM, self.program.entry),
            (Register.STATUS, 1),
        ):  # fmt: skip
            await self.write(register, 0)
            await self.expect(register, value)
        await self.write(Register.CONTROL, START)  # of a busy machine: nothing
        self.memory.stopped = False
        while await self.get(Register.STATUS) & BUSY:
            await self.cycle()

        # the interrupt: enable, and clear one bit at a time
        for register, value, irq in (
            (None, 0, 0), (Register.IRQ_ENABLE, DONE_IRQ, 1), (Register.IRQ_STATUS, ERROR_IRQ, 1),
            (Register.IRQ_ENABLE, 0, 0), (Register.IRQ_ENABLE, DONE_IRQ, 1),
            (Register.IRQ_STATUS, DONE_IRQ, 0),
        ):  # fmt: skip
            if register is not None:
                await self.write(register, value)
                await self.cycle()
            cleared = register == Register.IRQ_STATUS and value == DONE_IRQ
            await self.expect(Register.IRQ_STATUS, 0 if cleared else DONE_IRQ)
            assert self.irq == irq
