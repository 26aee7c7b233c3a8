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
from .load_write import write_chunks
from .nest import Nest
from .ports import LOAD, PROGRESS, instruction, memory_reader, reached, write_port

PIECES = LOAD["pieces"].width
LATENCY = PIECES + 1


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
    LATENCY cycles after the instruction has come, or one cycle after its waits are satisfied if
    that is later. A beat that arrives in cycle t is taken apart from t + 2 on; a chunk taken in t
    is written in t + 1. Two cycles after the last chunk is written the next instruction may begin.

    Throughput
    ----------
    A burst a cycle is asked for, without a gap between lines; a chunk a cycle is written.

    Back-pressure
    -------------
    A burst waits until the queue has room for it; a chunk stays while its memory refuses it.

    Errors
    ------
    Raises ValueError for a queue (hw.prefetch) without room for a burst.
    """

    def __init__(self, hw: Hardware):
        if hw.prefetch < hw.burst:
            raise ValueError(
                f"Load: prefetch {hw.prefetch} has no room for a burst of {hw.burst} beats"
            )
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
        waited = Signal()
        begin, running, finish = Signal(), Signal(), Signal()
        m.d.comb += [
            waited.eq(
                reached(m, "reached0", self.progress, i.wait0_unit, i.wait0_count)
                & reached(m, "reached1", self.progress, i.wait1_unit, i.wait1_count)
            ),
            begin.eq(self.i.valid & ~running & (bit == PIECES) & waited),
            self.i.ready.eq(finish),
        ]
        with m.If(finish):
            m.d.sync += [running.eq(0), bit.eq(0), length.eq(0)]
        with m.Elif(begin):
            m.d.sync += running.eq(1)
        with m.Elif(self.i.valid & (bit != PIECES)):
            m.d.sync += bit.eq(bit + 1)
            with m.If(i.pieces.bit_select(bit, 1)):
                m.d.sync += length.eq(length + (i.piece << bit))

        self.ask(m, begin, length, beats.r_en)
        m.d.comb += finish.eq(write_chunks(m, self, begin, beats))
        return m

    def ask(self, m: Module, begin: Value, length: Value, popped: Value) -> None:
        """The asking half: bursts of beats `at`.. of the line, `left` beats of it to come."""
        hw, i = self.hw, self.i.payload
        shift, burst = ceil_log2(hw.bus_bytes), hw.burst
        asking, line, burst_taken = Signal(), Signal(), Signal()
        room = Signal(range(hw.prefetch + 1), init=hw.prefetch)
        at, left = Signal(32 - shift), Signal(range(1 << (33 - shift)))
        nest = Nest.build(m, "ask", i, begin, line, i.address, [i.from0, i.from1, i.from2])

        here, request = Signal(range(burst + 1)), self.reader.request
        m.d.comb += [
            here.eq(burst - at[: ceil_log2(burst)]),
            request.payload.beats.eq(Mux(left < here, left, here)),
            request.payload.address.eq(at << shift),
            request.valid.eq(asking & (room >= request.payload.beats)),
            burst_taken.eq(request.valid & request.ready),
            line.eq(burst_taken & (left <= here)),
        ]
        m.d.sync += room.eq(room - Mux(burst_taken, request.payload.beats, 0) + popped)
        with m.If(begin | line):
            first = Mux(begin, i.address, nest.after)
            m.d.sync += [
                asking.eq(begin | ~nest.last[2]),
                at.eq(first >> shift),
                left.eq((first[:shift] + length + hw.bus_bytes - 1) >> shift),
            ]
        with m.Elif(burst_taken):
            m.d.sync += [at.eq(at + here), left.eq(left - here)]
