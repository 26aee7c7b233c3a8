"""The accelerator's registers (docs/accelerator.md), its start and stop, counters and watchdog.

    IDLE --start--> START --bus idle--> RUN --done---------------------> IDLE
                                        RUN --error, soft reset--> STOP --bus idle--> IDLE

In all states but RUN the units are in reset and the bus drains, so that every run begins clean.

Timing: `start` is 1 in the first cycle of RUN. A register is written in the cycle after the later
of AW and W was taken, with B in the next; R comes in the cycle after AR.
"""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import Error

from .axi import BUS_ADDRESS, ERRORS, LITE_DATA, axi_lite
from .ports import ADDRESS

COUNTERS = 11
COUNTER_BITS = 64
WATCHDOG = 1 << 16


class Register(IntEnum):
    """Byte offsets."""

    CONTROL = 0x00
    STATUS = 0x04
    IRQ_ENABLE = 0x08
    IRQ_STATUS = 0x0C
    BASE = 0x10
    BASE_HIGH = 0x14
    SIZE = 0x18
    PROGRAM = 0x1C
    SHAPE = 0x20
    COUNTER = 0x40


class Control(wiring.Component):
    """Members:
    - `axil`: AXI4-Lite slave. BASE, SIZE and PROGRAM keep their values while busy; the low 8 bits
      of BASE and PROGRAM are 0. Unknown registers read 0. A write of both CONTROL bits is a soft
      reset; a start while busy is nothing.
    - `irq`.
    - `base`, `size`, `program`: for the bus and the sequencer. `start`: pulse for the sequencer.
    - `reset`: of all units but this and the bus; `drain`: for the bus, the same cycles.
    - `read_idle`, `write_idle`: of the bus.
    - `done`: pulse of the sequencer; `fetched`: its count. `errors`: bits of all units together.
    - `array_state`: 1..7: the counter that counts this cycle, 0: none.
    - `read_beat`, `weights_beat`, `write_beat`: a beat of the bus in this cycle.
    - `moved`: something moved in this cycle, for the watchdog.
    - `busy`: from the start to done, or until the bus is idle after an error or a soft reset.
    """

    def __init__(self, hw: Hardware, watchdog: int = WATCHDOG):
        self.hw, self.watchdog = hw, watchdog
        super().__init__(
            {
                "axil": Out(axi_lite()),
                "irq": Out(1),
                "base": Out(BUS_ADDRESS),
                "size": Out(ADDRESS),
                "program": Out(ADDRESS),
                "start": Out(1),
                "reset": Out(1),
                "drain": Out(1),
                "busy": Out(1),
                "read_idle": In(1),
                "write_idle": In(1),
                "done": In(1),
                "fetched": In(16),
                "errors": In(ERRORS),
                "array_state": In(3),
                "read_beat": In(1),
                "weights_beat": In(1),
                "write_beat": In(1),
                "moved": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        write, address, value, strobe = self.writes(m)
        run, begin, stop = Signal(), Signal(), Signal()  # in RUN; RUN comes next; soft reset
        failed = Signal(ERRORS)
        counters = self.counters(m, run, begin)

        def written(register: Register) -> Value:
            return write & (address == register)

        # Start and stop.
        control = written(Register.CONTROL) & strobe[0]
        m.d.comb += [stop.eq(control & value[1]), self.busy.eq(run)]
        stuck = self.stuck(m, run)
        done, failure = Signal(), Signal(8)  # what STATUS shows of the run that is over
        error, irq_set, fetched = Signal(8), Signal(2), Signal(16)
        m.d.comb += failed.eq(self.errors | (stuck << Error.STUCK))
        quiet = self.read_idle & self.write_idle
        with m.FSM():
            with m.State("IDLE"):
                with m.If(stop):
                    m.d.sync += [done.eq(0), error.eq(0)]
                with m.Elif(control & value[0]):
                    m.d.sync += [done.eq(0), error.eq(0), fetched.eq(0)]
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.busy.eq(1)
                with m.If(stop):
                    m.next = "IDLE"
                with m.Elif(quiet):
                    m.d.comb += begin.eq(1)
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += run.eq(1)
                m.d.sync += fetched.eq(self.fetched)
                with m.If(stop):
                    m.d.sync += failure.eq(0)
                    m.next = "STOP"
                with m.Elif(failed.any()):
                    for n in reversed(range(1, ERRORS)):
                        with m.If(failed[n]):
                            m.d.sync += failure.eq(n)
                    m.next = "STOP"
                with m.Elif(self.done):
                    m.d.sync += done.eq(1)
                    m.d.comb += irq_set[0].eq(1)
                    m.next = "IDLE"
            with m.State("STOP"):
                m.d.comb += self.busy.eq(1)
                with m.If(stop):
                    m.d.sync += failure.eq(0)
                with m.Elif(quiet):
                    m.d.sync += error.eq(failure)
                    m.d.comb += irq_set[1].eq(failure != 0)
                    m.next = "IDLE"
        m.d.comb += [self.reset.eq(~run), self.drain.eq(~run)]
        m.d.sync += self.start.eq(begin)

        # Registers.
        high = Signal(BUS_ADDRESS - LITE_DATA)
        low, enable, status = Signal(LITE_DATA), Signal(2), Signal(2)
        m.d.comb += [self.base.eq(Cat(low, high)), self.irq.eq((enable & status).any())]
        bits = Cat(bit.replicate(8) for bit in strobe)

        def merge(register: Register, target: Signal, condition=1, keep: int = 0xFFFFFFFF) -> None:
            with m.If(written(register) & condition):
                m.d.sync += target.eq(((target & ~bits) | (value & bits)) & keep)

        merge(Register.IRQ_ENABLE, enable)
        merge(Register.BASE, low, ~self.busy, 0xFFFFFF00)
        merge(Register.BASE_HIGH, high, ~self.busy)
        merge(Register.SIZE, self.size, ~self.busy)
        merge(Register.PROGRAM, self.program, ~self.busy, 0xFFFFFF00)
        cleared = Mux(written(Register.IRQ_STATUS), value & bits, 0)[:2]
        m.d.sync += status.eq((status & ~cleared) | irq_set)
        shape = hw.rows | hw.cols << 8 | hw.lanes << 16 | hw.bus_bytes << 24
        self.reads(
            m,
            {
                Register.STATUS: Cat(self.busy, done, error != 0, C(0, 5), error, fetched),
                Register.IRQ_ENABLE: enable,
                Register.IRQ_STATUS: status,
                Register.BASE: low,
                Register.BASE_HIGH: high,
                Register.SIZE: self.size,
                Register.PROGRAM: self.program,
                Register.SHAPE: C(shape, LITE_DATA),
                **{Register.COUNTER + 4 * (2 * n + k): c[32 * k : 32 * k + 32]
                   for n, c in enumerate(counters) for k in range(2)},
            },
        )  # fmt: skip
        return m

    def counters(self, m: Module, run: Value, begin: Value) -> list[Signal]:
        """Of cycles, of array states, of bytes."""
        size = self.hw.bus_bytes
        steps = [
            1,
            *(self.array_state == n for n in range(1, 8)),
            Mux(self.read_beat, size, 0),
            Mux(self.write_beat, size, 0),
            Mux(self.weights_beat, size, 0),
        ]
        counters = [Signal(COUNTER_BITS, name=f"counter{n}") for n in range(COUNTERS)]
        with m.If(begin):
            m.d.sync += [counter.eq(0) for counter in counters]
        with m.Elif(run):
            m.d.sync += [c.eq(c + s) for c, s in zip(counters, steps, strict=True)]
        return counters

    def stuck(self, m: Module, run: Value) -> Signal:
        """Has nothing moved, and nothing been owed by memory, for `watchdog` cycles?"""
        still, stuck = Signal(range(self.watchdog + 1)), Signal()
        m.d.comb += stuck.eq(still == self.watchdog)
        with m.If(~run | self.moved | ~self.read_idle | ~self.write_idle):
            m.d.sync += still.eq(0)
        with m.Elif(~stuck):
            m.d.sync += still.eq(still + 1)
        return stuck

    def writes(self, m: Module) -> tuple[Value, Value, Value, Value]:
        """AW and W in any order, then B. Returns (valid for one cycle, address, data, strobe)."""
        axil = self.axil
        address, value = Signal.like(axil.awaddr), Signal(LITE_DATA)
        strobe, have_address, have_data = Signal(LITE_DATA // 8), Signal(), Signal()
        write = Signal()
        m.d.comb += [
            axil.awready.eq(~have_address),
            axil.wready.eq(~have_data),
            write.eq(have_address & have_data & ~axil.bvalid),
        ]
        with m.If(axil.awvalid & axil.awready):
            m.d.sync += [address.eq(axil.awaddr & ~3), have_address.eq(1)]
        with m.If(axil.wvalid & axil.wready):
            m.d.sync += [value.eq(axil.wdata), strobe.eq(axil.wstrb), have_data.eq(1)]
        with m.If(write):
            m.d.sync += [have_address.eq(0), have_data.eq(0), axil.bvalid.eq(1)]
        with m.Elif(axil.bready):
            m.d.sync += axil.bvalid.eq(0)
        return write, address, value, strobe

    def reads(self, m: Module, registers: dict[int, Value]) -> None:
        axil = self.axil
        m.d.comb += axil.arready.eq(~axil.rvalid)
        with m.If(axil.arvalid & axil.arready):
            m.d.sync += axil.rvalid.eq(1)
            with m.Switch(axil.araddr & ~3):
                for register, value in registers.items():
                    with m.Case(register):
                        m.d.sync += axil.rdata.eq(value)
                with m.Default():
                    m.d.sync += axil.rdata.eq(0)
        with m.Elif(axil.rready):
            m.d.sync += axil.rvalid.eq(0)
