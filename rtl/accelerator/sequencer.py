"""The sequencer: fetches the program and sends every instruction to the queues of its units.

The program is read in bursts of BURST_BYTES, two of which find room; a burst that would leave the
memory map is asked for only when all that came before has been sent on: never behind END, which
stays in the instruction register. So reading ahead is no error by itself.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.machine.hardware import BURST_BYTES, Hardware
from fqvit_hw.machine.isa import INSTRUCTION_BYTES, OPCODE, Error, Opcode

from .axi import ERRORS
from .ports import ADDRESS, FETCHED, INSTRUCTION_BITS, instruction, memory_reader

# The queues that an instruction goes to.
UNITS = {
    "load": Opcode.LOAD,
    "store": Opcode.STORE,
    "norm": Opcode.NORM,
    "weights": Opcode.GEMM,
    "array": Opcode.GEMM,
    "epilogue": Opcode.GEMM,  # which tells the codes unit
}
OUTSTANDING = 2  # bursts that find room


class Sequencer(wiring.Component):
    """Fetches, decodes and hands out instructions, up to END.

    Parameters
    ----------
    hw : Hardware
        the bus, the length of the queues

    Members
    -------
    start : In, 1
        pulse
    program : In, ADDRESS
        offset of the first instruction, a multiple of 256
    size : In, ADDRESS
        bytes of the memory map
    reader : Out, memory_reader
        for the program
    load, store, norm, weights, array, epilogue : Out, streams of instructions
        the queues' ends; a GEMM goes to the last three
    idle : In, 1
        all units are idle; a unit is not idle from the cycle after it takes an instruction until
        all its effects are done
    done : Out, 1
        pulse: END was reached, all queues are empty and `idle`
    fetched : Out, FETCHED
        instructions decoded since the start, END and a bad one too
    errors : Out, ERRORS
        bit Error.OPCODE while an instruction is none

    Latency
    -------
    An instruction is sent on in the cycle after its last beat is taken from the queue.

    Throughput
    ----------
    A beat a cycle is taken from the queue into the instruction register; the beats of the next
    instruction follow when this one is sent on.

    Back-pressure
    -------------
    An instruction waits until all its queues have room.

    Errors
    ------
    A word that is no instruction is Error.OPCODE, and is never sent on.
    """

    def __init__(self, hw: Hardware):
        self.hw = hw
        super().__init__(
            {
                "start": In(1),
                "program": In(ADDRESS),
                "size": In(ADDRESS),
                "reader": Out(memory_reader(hw)),
                "idle": In(1),
                "done": Out(1),
                "fetched": Out(FETCHED),
                "errors": Out(ERRORS),
                **{n: Out(stream.Signature(instruction(op))) for n, op in UNITS.items()},
            }
        )

    def elaborate(self, platform):
        m = Module()
        hw, request = self.hw, self.reader.request
        depth = OUTSTANDING * hw.burst
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=hw.bus, depth=depth + 1)

        running = Signal()
        at, beyond = Signal(ADDRESS), Signal()
        whole, sent = Signal(), Signal()  # the instruction register is full, is emptied
        room = Signal(range(depth + 1), init=depth)
        taken, popped = Signal(), Signal()
        m.d.comb += [
            beyond.eq(at + BURST_BYTES > self.size),
            request.payload.address.eq(at),
            request.payload.beats.eq(hw.burst),
            request.valid.eq(running & Mux(beyond, (room == depth) & ~whole, room >= hw.burst)),
            taken.eq(request.valid & request.ready),
            popped.eq(beats.r_rdy & beats.r_en),
            beats.w_en.eq(self.reader.valid),
            beats.w_data.eq(self.reader.data),
        ]
        m.d.sync += room.eq(room - Mux(taken, hw.burst, 0) + popped)
        with m.If(self.start):
            m.d.sync += [at.eq(self.program), running.eq(1)]
        with m.Elif(taken):
            m.d.sync += at.eq(at + BURST_BYTES)

        # Beats come in at the top of the instruction register.
        word = Signal(INSTRUCTION_BITS)
        parts = INSTRUCTION_BYTES // hw.bus_bytes
        missing = Signal(range(parts + 1), init=parts)
        m.d.comb += [whole.eq(missing == 0), beats.r_en.eq(~whole)]
        with m.If(popped):
            m.d.sync += [word.eq(Cat(word[hw.bus :], beats.r_data)), missing.eq(missing - 1)]
        with m.Elif(sent):
            m.d.sync += missing.eq(parts)

        queues = {}
        for name in UNITS:
            port = getattr(self, name)
            width = len(port.payload.as_value())
            queue = queues[name] = fifo.SyncFIFO(width=width, depth=hw.queue)
            m.submodules[f"{name}_queue"] = queue
            m.d.comb += [
                port.valid.eq(queue.r_rdy),
                port.payload.eq(queue.r_data),
                queue.r_en.eq(port.ready),
                queue.w_data.eq(word[:width]),
            ]
        opcode = word[: OPCODE.width]
        names = {op: [n for n, o in UNITS.items() if o is op] for op in UNITS.values()}
        bad = Signal()
        m.d.comb += self.errors.eq(bad << Error.OPCODE)
        counted, empty = Signal(), Signal()  # this instruction is in `fetched`; no queue holds any
        m.d.comb += empty.eq(~Cat(queue.r_rdy for queue in queues.values()).any())
        with m.If(whole):
            m.d.sync += [counted.eq(~sent), self.fetched.eq(self.fetched + (counted == 0))]
        with m.If(whole), m.Switch(opcode):
            for op, units in names.items():
                with m.Case(op):
                    m.d.comb += sent.eq(Cat(queues[name].w_rdy for name in units).all())
                    m.d.comb += [queues[name].w_en.eq(sent) for name in units]
            with m.Case(Opcode.END):
                m.d.comb += self.done.eq(running & counted & empty & self.idle)
                with m.If(self.done):
                    m.d.sync += running.eq(0)
            with m.Default():
                m.d.comb += bad.eq(running & counted)
        return m
