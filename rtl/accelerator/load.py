"""LOAD: affine copies from memory into the chip, three nested loops of lines cut into pieces.

Two halves carry out the same instruction. The asking half walks the lines and asks for the beats
that cover them, as long as there is room; the writing half (`rtl.accelerator.load_write`), behind
the queue of beats, takes them apart into chunks and writes a chunk a cycle. So the bus works on
while the writing half lags behind.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.attention_codes import entry_bits
from fqvit_hw.formats import INT8, INT16, ceil_log2
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import Opcode
from fqvit_hw.machine.layouts import GELU_ENTRIES, SOFTMAX_ENTRIES

from ..blocks.layernorm import LayerNormConfig
from ..parts.elastic import Elastic
from .burst import STEPS, Burst
from .load_write import write_chunks
from .nest import Nest
from .ports import LOAD, PROGRESS, instruction, memory_reader, reached, write_port

PIECES = LOAD["pieces"].width
LATENCY = PIECES + 3 + STEPS


def gelu_table() -> data.StructLayout:
    return data.StructLayout({"addr": range(GELU_ENTRIES), "data": INT8.width})


def softmax_table(hw: Hardware) -> data.StructLayout:
    return data.StructLayout({"addr": range(SOFTMAX_ENTRIES), "data": entry_bits(hw.attention)})


def norm_table(hw: Hardware) -> data.StructLayout:
    return LayerNormConfig(hw.norm_lanes, hw.max_channels).params


class Load(wiring.Component):
    """Carries out LOADs, one after another.

    A chunk of GELU_TABLE is a byte, of SOFTMAX_TABLE 4 bytes, chunks of STREAM have at least 2; all
    have at most the bytes of the bus and of the word.

    Parameters
    ----------
    hw : Hardware
        the bus and its queue, the memories, the tables

    Members
    -------
    i : In, stream of LOAD
        taken when carried out
    progress : In, PROGRESS
        counts of all units, for the waits
    reader : Out, memory_reader
        asks for what hw.prefetch beats can hold
    acts, stream : Out, write_port
        the memories; may be refused
    norm_table, gelu_table, softmax_table : Out, streams of {addr, data}
        always ready; an entry of the norm table, L channels, is written when its last byte has
        come, or at the end of a line
    credit : Out
        `credit` of the instruction in the cycle after an outer step is written, else 0
    idle : Out, 1
        no instruction waits or is under way

    Latency
    -------
    The bytes of a line (pieces * piece) are multiplied bit by bit, so the first burst is asked for
    LATENCY = 17 cycles after the instruction has come, or 6 cycles after its waits are satisfied if
    that is later. A beat that arrives in cycle t is taken apart from t + 3 on; a chunk taken in t
    is written in t + 1, an entry of a table in t + 2. Two cycles after the last chunk is written
    the next instruction may begin.

    Throughput
    ----------
    A burst every 3 cycles is asked for, without a gap between lines; a chunk a cycle is written,
    three cycles for a line of one or two chunks.

    Back-pressure
    -------------
    A burst waits until the queue has room for it; a chunk stays while its memory refuses it.
    """

    def __init__(self, hw: Hardware):
        self.hw = hw
        super().__init__(
            {
                "i": In(stream.Signature(instruction(Opcode.LOAD))),
                "progress": In(PROGRESS),
                "reader": Out(memory_reader(hw)),
                "acts": Out(write_port(hw.acts, hw.rows * INT8.width, INT8.width)),
                "stream": Out(write_port(hw.stream, hw.cols * INT16.width, INT16.width)),
                "norm_table": Out(stream.Signature(norm_table(hw))),
                "gelu_table": Out(stream.Signature(gelu_table())),
                "softmax_table": Out(stream.Signature(softmax_table(hw))),
                "credit": Out(LOAD["credit"].width),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        hw, i = self.hw, self.i.payload
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=hw.bus, depth=hw.prefetch + 1)
        m.d.comb += [
            beats.w_en.eq(self.reader.valid),
            beats.w_data.eq(self.reader.data),
            self.idle.eq(~self.i.valid),
        ]

        # Multiply, wait, then let both halves run until the writing half is done.
        length, bit = Signal(range(1 << 32)), Signal(range(PIECES + 1))
        term, pieces = Signal.like(length), Signal.like(i.pieces)  # piece << bit, pieces >> bit
        waits, waited, fresh = Signal(), Signal(), Signal(init=1)
        begin, running, finish = Signal(), Signal(), Signal()
        m.d.comb += [
            waits.eq(self.i.valid & ~running),
            waited.eq(
                reached(m, "reached0", self.progress, i.wait0_unit, i.wait0_count, waits)
                & reached(m, "reached1", self.progress, i.wait1_unit, i.wait1_count, waits)
            ),
            self.i.ready.eq(finish),
        ]
        m.d.sync += begin.eq(waits & ~begin & (bit == PIECES) & waited)
        with m.If(finish):
            m.d.sync += running.eq(0)
        with m.Elif(begin):
            m.d.sync += running.eq(1)
        with m.If(~self.i.valid | finish):
            m.d.sync += [bit.eq(0), length.eq(0), fresh.eq(1)]
        with m.Elif(fresh):
            m.d.sync += [fresh.eq(0), term.eq(i.piece), pieces.eq(i.pieces)]
        with m.Elif(bit != PIECES):
            m.d.sync += [bit.eq(bit + 1), term.eq(term << 1), pieces.eq(pieces >> 1)]
            with m.If(pieces[0]):
                m.d.sync += length.eq(length + term)

        self.ask(m, begin, length, beats.r_rdy & beats.r_en)
        # the queue's memory answers late, the writing half decides late
        m.submodules.front = front = Elastic(hw.bus)
        m.d.comb += [
            front.i.valid.eq(beats.r_rdy),
            front.i.payload.eq(beats.r_data),
            beats.r_en.eq(front.i.ready),
            finish.eq(write_chunks(m, self, begin, front.o)),
        ]
        return m

    def ask(self, m: Module, begin: Value, length: Value, popped: Value) -> None:
        """The asking half: bursts of beats `at`.. of the line, `left` beats of it to come.

        Where the next line begins and how many beats it has is worked out ahead, a step a cycle: a
        burst takes three.
        """
        hw, i, request = self.hw, self.i.payload, self.reader.request
        shift = ceil_log2(hw.bus_bytes)
        asking, line, taken = Signal(), Signal(), Signal()
        room = Signal(range(hw.prefetch + 1), init=hw.prefetch)
        at, left = Signal(32 - shift), Signal(range(1 << (33 - shift)))
        nest = Nest.build(m, "ask", i, begin, line, i.address, [i.from0, i.from1, i.from2])

        def beats(first: Value) -> Value:
            return (first[:shift] + length + hw.bus_bytes - 1) >> shift

        next_first, next_left = Signal.like(nest.after), Signal.like(left)
        final_line = Signal()
        m.d.sync += [
            next_first.eq(nest.after),
            final_line.eq(nest.last[2]),
            next_left.eq(beats(next_first)),
        ]
        burst = Burst.of(m, hw, at, left, room, begin | taken)
        m.d.comb += [
            request.payload.beats.eq(burst.beats),
            request.payload.address.eq(at << shift),
            request.valid.eq(asking & burst.ready),
            taken.eq(request.valid & request.ready),
            line.eq(taken & burst.final),
        ]
        m.d.sync += room.eq(room - Mux(taken, burst.beats, 0) + popped)
        with m.If(begin):
            m.d.sync += [asking.eq(1), at.eq(i.address >> shift), left.eq(beats(i.address))]
        with m.Elif(line):
            m.d.sync += [asking.eq(~final_line), at.eq(next_first >> shift), left.eq(next_left)]
        with m.Elif(taken):
            m.d.sync += [at.eq(at + burst.beats), left.eq(left - burst.beats)]
