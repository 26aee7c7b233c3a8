"""The sequencer: fetches the program and sends every instruction to the queues of its units.

The program is read in bursts of BURST_BYTES, two of which find room; a burst that would leave the
memory map is asked for only when all that came before has been sent on: never behind END, which
stays in the instruction register. So reading ahead is no error by itself.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import ceil_log2
from fqvit_hw.machine.hardware import BURST_BYTES, Hardware
from fqvit_hw.machine.isa import INSTRUCTION_BYTES, OPCODE, Error, Opcode

from . import epilogue, gemm, weights
from .axi import ERRORS
from .ports import ADDRESS, FETCHED, INSTRUCTION_BITS, instruction, memory_reader, picked

# The queues that an instruction goes to, and what they keep of it.
UNITS = {
    "load": (Opcode.LOAD, instruction(Opcode.LOAD)),
    "store": (Opcode.STORE, instruction(Opcode.STORE)),
    "norm": (Opcode.NORM, instruction(Opcode.NORM)),
    "weights": (Opcode.GEMM, weights.INSTRUCTION),
    "array": (Opcode.GEMM, gemm.INSTRUCTION),
    "epilogue": (Opcode.GEMM, epilogue.INSTRUCTION),  # which tells the codes unit
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
    An instruction is sent on three cycles after its last beat is taken from the queue; its unit
    sees it another two later.

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
                **{name: Out(stream.Signature(layout)) for name, (_, layout) in UNITS.items()},
            }
        )

    def elaborate(self, platform):
        m = Module()
        hw, request = self.hw, self.reader.request
        depth = OUTSTANDING * hw.burst
        burst_bits = ceil_log2(BURST_BYTES)
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=hw.bus, depth=depth + 1)

        running = Signal()
        at, beyond = Signal(ADDRESS), Signal()
        whole, sent = Signal(), Signal()  # the instruction register is full, is emptied
        room = Signal(range(depth + 1), init=depth)
        taken, popped = Signal(), Signal()
        # Known a cycle late, which does no harm: but for a burst taken or a start, `at` stands
        # still and there is ever more room.
        known, fits, drained = Signal(), Signal(), Signal()
        m.d.comb += [
            request.payload.address.eq(at),
            request.payload.beats.eq(hw.burst),
            request.valid.eq(running & known & Mux(beyond, drained, fits)),
            taken.eq(request.valid & request.ready),
            popped.eq(beats.r_rdy & beats.r_en),
            beats.w_en.eq(self.reader.valid),
            beats.w_data.eq(self.reader.data),
        ]
        m.d.sync += [
            beyond.eq(at[burst_bits:] >= self.size[burst_bits:]),  # of whole bursts
            fits.eq(room >= hw.burst),
            drained.eq((room == depth) & ~whole),
            known.eq(~(self.start | taken)),
            room.eq(room - Mux(taken, hw.burst, 0) + popped),
        ]
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
        for name, (opcode, layout) in UNITS.items():
            port = getattr(self, name)
            # a register at the output: units decide at once on what they are given
            queue = queues[name] = fifo.SyncFIFOBuffered(width=layout.size, depth=hw.queue + 1)
            m.submodules[f"{name}_queue"] = queue
            m.d.comb += [
                port.valid.eq(queue.r_rdy),
                port.payload.eq(queue.r_data),
                queue.r_en.eq(port.ready),
                queue.w_data.eq(picked(word, opcode, layout)),
            ]
        # A cycle to decode: where does it go, is it END, is it nothing? Another one to find room.
        opcode = word[: OPCODE.width]
        decoded, ends, bad = Signal(), Signal(), Signal()
        goes = {name: Signal(name=f"goes_to_{name}") for name in UNITS}
        m.d.sync += [
            decoded.eq(whole & ~sent),
            ends.eq(opcode == Opcode.END),
            bad.eq(~Cat(opcode == op for op in Opcode).any()),
            *(goes[name].eq(opcode == op) for name, (op, _) in UNITS.items()),
        ]
        # Between two instructions pass more cycles than it takes to see what the first one left.
        free = {name: Signal(name=f"free_{name}") for name in UNITS}
        m.d.sync += [free[name].eq(queues[name].w_rdy) for name in UNITS]
        room = Cat(~goes[name] | free[name] for name in UNITS).all()
        m.d.sync += sent.eq(decoded & ~sent & ~ends & ~bad & room)
        m.d.comb += [queues[name].w_en.eq(sent & goes[name]) for name in UNITS]
        counted, empty = Signal(), Signal()  # this instruction is in `fetched`; no queue holds any
        with m.If(decoded):
            m.d.sync += [counted.eq(~sent), self.fetched.eq(self.fetched + (counted == 0))]
        m.d.sync += empty.eq(
            ~Cat(queue.r_rdy | queue.level.any() for queue in queues.values()).any()
        )
        m.d.comb += [
            self.done.eq(running & counted & ends & decoded & empty & self.idle),
            self.errors.eq((running & counted & bad & decoded) << Error.OPCODE),
        ]
        with m.If(self.done):
            m.d.sync += running.eq(0)
        return m
