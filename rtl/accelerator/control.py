"""The accelerator's registers, its start and stop, counters and watchdog.

    IDLE --start--> START --bus idle--> RUN --done---------------------> IDLE
                                        RUN --error, soft reset--> STOP --bus idle--> IDLE

In all states but RUN the units are in reset and the bus drains, so that every run begins clean.
`fqvit_hw.machine.registers` has the offsets, the bits and what may be written when.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.machine.hardware import BUS_ADDRESS, Hardware
from fqvit_hw.machine.isa import Error
from fqvit_hw.machine.registers import (
    COUNTER_BYTES,
    REGISTERS,
    Access,
    Counter,
    Register,
    offset,
    shape,
)

from .axi import ERRORS, LITE_DATA, axi_lite
from .layouts import assemble, struct
from .lite import Write, lite_reads, lite_writes
from .ports import ADDRESS, FETCHED

WATCHDOG = 1 << 16
MOVES = 9  # signs that something moves: the array, both sides of the bus, six counts of PROGRESS
CONTROL, STATUS = (REGISTERS[r].layout for r in (Register.CONTROL, Register.STATUS))
STATES = list(Counter)[Counter.ARRAY_BUSY : Counter.IDLE + 1]  # what `array_state` chooses


@dataclass(frozen=True)
class Outcome:
    """What the registers show of the run: did it end, its error's code, what was fetched; irq_set:
    a bit of IRQ_STATUS, in the cycle in which a run ends.
    """

    done: Value
    error: Value
    fetched: Value
    irq_set: Value


class Control(wiring.Component):
    """Registers on AXI4-Lite; starts and stops a run, counts it, and sees it when nothing moves.

    Parameters
    ----------
    hw : Hardware
        what SHAPE shows
    watchdog : int
        cycles without progress after which the machine stops with Error.STUCK

    Members
    -------
    axil : Out, axi_lite
        the slave; unknown registers read 0
    irq : Out, 1
        the interrupt
    base : Out, BUS_ADDRESS
        where the memory map begins, for the bus
    size : Out, ADDRESS
        bytes of the memory map, for bus and sequencer
    program : Out, ADDRESS
        offset of the first instruction, for the sequencer
    start : Out, 1
        pulse for the sequencer, in the first cycle of RUN
    reset : Out, 1
        of all units but this and the bus
    drain : Out, 1
        for the bus: the same cycles
    busy : Out, 1
        from the start to done, or until the bus is idle after an error or a soft reset
    read_idle, write_idle : In, 1
        of the bus
    done : In, 1
        pulse of the sequencer
    fetched : In, FETCHED
        the sequencer's count
    errors : In, ERRORS
        bits of all units together
    array_state : In, 3
        1..7: the counter that counts this cycle, 0: none
    read_beat, weights_beat, write_beat : In, 1
        a beat of the bus in this cycle
    moved : In, bits
        where something moved in this cycle, for the watchdog

    Latency
    -------
    A register is written in the cycle after the later of AW and W was taken, with B in the next; R
    comes two cycles after AR.

    Throughput
    ----------
    A read every 3 cycles, a write every 2.

    Back-pressure
    -------------
    AR waits while R is not taken; a second AW or W until the write before has happened, which waits
    while the B before it is not taken.

    Errors
    ------
    The lowest bit of `errors` in the cycle that stops the run is shown by STATUS; nothing that
    moves, and nothing that memory owes, for `watchdog` cycles is Error.STUCK.
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
                "reset": Out(1, init=1),  # a register: it goes to every unit
                "drain": Out(1),
                "busy": Out(1),
                "read_idle": In(1),
                "write_idle": In(1),
                "done": In(1),
                "fetched": In(FETCHED),
                "errors": In(ERRORS),
                "array_state": In(3),
                "read_beat": In(1),
                "weights_beat": In(1),
                "write_beat": In(1),
                "moved": In(MOVES),
            }
        )

    def elaborate(self, platform):
        m = Module()
        write = lite_writes(m, self.axil)
        start, run = Signal(), Signal()  # in START, in RUN
        outcome = self.runs(m, write, start, run)
        self.registers(m, write, outcome, self.counters(m, start, run))
        return m

    def runs(self, m: Module, write: Write, start: Signal, run: Signal) -> Outcome:
        """Start and stop."""
        stop, failed, begin = Signal(), Signal(ERRORS), Signal()  # begin: RUN comes next
        command = data.View(struct(CONTROL), write.data[: CONTROL.width])
        control = write.to(Register.CONTROL) & write.strobe[0]
        m.d.comb += [stop.eq(control & command.soft_reset), self.busy.eq(run)]
        stuck = self.stuck(m, run)
        done = Signal()
        failure = Signal(STATUS.fields["code"].width)  # why the run stops, shown when it has
        error, irq_set, fetched = Signal.like(failure), Signal(2), Signal(FETCHED)
        m.d.comb += failed.eq(self.errors | (stuck << Error.STUCK))
        quiet = self.read_idle & self.write_idle
        with m.FSM():
            with m.State("IDLE"):
                with m.If(stop):
                    m.d.sync += [done.eq(0), error.eq(0)]
                with m.Elif(control & command.start):
                    m.d.sync += [done.eq(0), error.eq(0), fetched.eq(0)]
                    m.next = "START"
            with m.State("START"):
                m.d.comb += [start.eq(1), self.busy.eq(1)]
                with m.If(stop):
                    m.next = "IDLE"
                with m.Elif(quiet):
                    m.d.comb += begin.eq(1)
                    m.d.sync += self.reset.eq(0)
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += run.eq(1)
                m.d.sync += [
                    fetched.eq(self.fetched),
                    self.reset.eq(stop | failed.any() | self.done),
                ]
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
        m.d.comb += self.drain.eq(self.reset)
        m.d.sync += self.start.eq(begin)
        return Outcome(done, error, fetched, irq_set)

    def registers(self, m: Module, write: Write, outcome: Outcome, counters: list[Signal]) -> None:
        """Those that are written, and what all of them read."""
        high = Signal(BUS_ADDRESS - LITE_DATA)
        low, enable, status = Signal(LITE_DATA), Signal(2), Signal(2)
        m.d.comb += [self.base.eq(Cat(low, high)), self.irq.eq((enable & status).any())]
        stored = {
            Register.IRQ_ENABLE: enable,
            Register.BASE: low,
            Register.BASE_HIGH: high,
            Register.SIZE: self.size,
            Register.PROGRAM: self.program,
        }
        for register, target in stored.items():
            free = ~self.busy if REGISTERS[register].access is Access.IDLE else 1
            with m.If(write.to(register) & free):
                m.d.sync += target.eq(write.over(target) & REGISTERS[register].layout.mask())
        cleared = Mux(write.to(Register.IRQ_STATUS), write.data & write.bits, 0)[:2]
        m.d.sync += status.eq((status & ~cleared) | outcome.irq_set)
        shown = assemble(
            STATUS,
            busy=self.busy,
            done=outcome.done,
            error=outcome.error != 0,
            code=outcome.error,
            fetched=outcome.fetched,
        )
        words = {
            offset(counter) + 4 * k: counters[counter].word_select(k, LITE_DATA)
            for counter in Counter
            for k in range(2)
        }
        fixed = {
            Register.STATUS: shown,
            Register.IRQ_STATUS: status,
            Register.SHAPE: C(shape(self.hw), LITE_DATA),
        }
        lite_reads(m, self.axil, dict(sorted((stored | fixed | words).items())))

    def counters(self, m: Module, start: Value, run: Value) -> list[Signal]:
        """In the order of Counter; they begin again while a run is about to start."""
        size = self.hw.bus_bytes
        # they come from all over the chip: everything is counted a cycle late
        names = ("array_state", "read_beat", "write_beat", "weights_beat")
        seen = {name: Signal.like(getattr(self, name), name=f"seen_{name}") for name in names}
        m.d.sync += [signal.eq(getattr(self, name)) for name, signal in seen.items()]
        starts, runs = Signal(), Signal()
        m.d.sync += [starts.eq(start), runs.eq(run)]
        steps = {
            Counter.CYCLES: 1,
            **{n: seen["array_state"] == n for n in STATES},
            Counter.BYTES_READ: Mux(seen["read_beat"], size, 0),
            Counter.BYTES_WRITTEN: Mux(seen["write_beat"], size, 0),
            Counter.WEIGHT_BYTES: Mux(seen["weights_beat"], size, 0),
        }
        counters = [Signal(8 * COUNTER_BYTES, name=f"counter{n.value}") for n in Counter]
        with m.If(starts):
            m.d.sync += [counter.eq(0) for counter in counters]
        with m.Elif(runs):
            m.d.sync += [counters[n].eq(counters[n] + steps[n]) for n in Counter]
        return counters

    def stuck(self, m: Module, run: Value) -> Signal:
        """Has nothing moved, and nothing been owed by memory, for `watchdog` cycles?"""
        still, stuck, alive = Signal(range(self.watchdog + 1)), Signal(), Signal()
        signs = Signal(MOVES + 2)  # of life, from all over the chip, as they were a cycle ago
        m.d.sync += signs.eq(Cat(self.moved, ~self.read_idle, ~self.write_idle))
        m.d.sync += alive.eq(signs.any())
        m.d.comb += stuck.eq(still == self.watchdog)
        with m.If(~run | alive):
            m.d.sync += still.eq(0)
        with m.Elif(~stuck):
            m.d.sync += still.eq(still + 1)
        return stuck
