"""The norm unit: rows of the residual stream, LayerNorm, rows of activations."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import INT8, INT16, ceil_log2
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import Opcode

from ..blocks.layernorm import LayerNorm, LayerNormConfig
from ..parts.packed import packed
from ..parts.row_walk import RowWalk
from .ports import PROGRESS, instruction, reached, read_port, write_port
from .scratchpad import READ
from .trace import trace

FEED = 1 + READ  # cycles from the read of a word to its first beat's handshake with LayerNorm
WORDS = 6  # that may wait between the memory and LayerNorm: more than a read takes


class Norm(wiring.Component):
    """LayerNorm of `rows` rows of the stream, `channels` long, L lanes a cycle.

    Only the row's own bytes are written. The constants of an instruction hold still while rows are
    inside.

    Parameters
    ----------
    hw : Hardware
        the lanes, the longest row, the memories

    Members
    -------
    i : In, stream of NORM
        the instructions
    progress : In, PROGRESS
        counts of all units, for the waits
    stream : Out, read_port
        of the stream; may be refused
    acts : Out, write_port
        of the activations; may be refused
    params : In, stream of {addr: beat, data: {factor, gamma, beta} x L}
        written while no row is inside
    finished : Out, 1
        the last beat of a row is written in this cycle
    busy : Out, 1
        an instruction is under way
    trace : Out, trace
        every beat, when written

    Latency
    -------
    From the read of a row's only word to its first beat written, without stalls: FEED = 3 + the
    latency of LayerNorm (`rtl.blocks.layernorm`). What LayerNorm makes is written in the cycle in
    which it leaves.

    Throughput
    ----------
    A word a cycle is read, a beat of L channels a cycle is taken: a word lasts C / L beats. The
    next instruction is taken in the cycle in which the last beat of the one before is written, and
    reads its first word two cycles later.

    Back-pressure
    -------------
    Row r is read when wait0 (stepped by row) and, before the first, wait1 are satisfied, as long as
    WORDS words have room. While the write is refused the whole unit stands still.
    """

    def __init__(self, hw: Hardware):
        self.hw = hw
        self.layernorm = LayerNormConfig(hw.norm_lanes, hw.max_channels, 16, ptf16=True)
        super().__init__(
            {
                "i": In(stream.Signature(instruction(Opcode.NORM))),
                "progress": In(PROGRESS),
                "stream": Out(read_port(hw.stream, hw.cols * INT16.width)),
                "acts": Out(write_port(hw.acts, hw.rows * INT8.width, INT8.width)),
                "params": In(stream.Signature(self.layernorm.params)),
                "finished": Out(1),
                "busy": Out(1),
                "trace": Out(trace(hw.norm_lanes, signed(INT8.width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # without an instruction it stands still, which saves power
        norm = LayerNorm(self.layernorm)
        m.submodules.layernorm = EnableInserter(self.busy | self.params.valid)(norm)
        wiring.connect(m, wiring.flipped(self.params), norm.params)
        ins = Signal(instruction(Opcode.NORM), name="ins", reset_less=True)
        m.d.comb += [
            getattr(norm.config, name).eq(getattr(ins, name))
            for name in self.layernorm.layer.members
        ]
        loaded, start, free, ends = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq(~loaded | ends),
            self.i.ready.eq(free),
            self.busy.eq(loaded),
        ]
        m.d.sync += start.eq(self.i.valid & free)
        with m.If(free):
            m.d.sync += loaded.eq(self.i.valid)
        with m.If(self.i.valid & free):
            m.d.sync += ins.eq(self.i.payload)
        self.split(m, ins, self.read(m, ins, start), norm)
        m.d.comb += ends.eq(self.write(m, ins, start, norm))
        return m

    def read(self, m: Module, ins, start: Signal) -> SyncFIFO:
        """Words of the rows into a queue."""
        hw = self.hw
        m.submodules.words = queue = SyncFIFO(width=hw.cols * INT16.width, depth=WORDS)
        active, first_row, first_word, last_word = Signal(), Signal(), Signal(), Signal()
        word, rest = Signal(range(-(-hw.max_channels // hw.cols) + 1)), Signal.like(ins.channels)
        count, used = Signal.like(ins.wait0_count), Signal(range(WORDS + 1))
        step, arrives = Signal(), Signal(READ)
        walk = RowWalk(m, ins, "from", start, step & last_word)
        asks = active & first_word & ~(step & last_word)
        waited0 = reached(m, "waited0", self.progress, ins.wait0_unit, count, asks)
        waited1 = reached(m, "waited1", self.progress, ins.wait1_unit, ins.wait1_count, active)
        m.d.comb += [
            last_word.eq(rest <= hw.cols),
            self.stream.valid.eq(
                active & (used != WORDS) & (~first_word | (waited0 & (waited1 | ~first_row)))
            ),
            self.stream.addr.eq(walk.addr + word),
            step.eq(self.stream.valid & self.stream.ready),
            queue.w_data.eq(self.stream.data),
            queue.w_en.eq(arrives[-1]),
        ]
        m.d.sync += [
            arrives.eq(Cat(step, arrives)),
            used.eq(used + step - (queue.r_en & queue.r_rdy)),
        ]
        with m.If(step):
            m.d.sync += [word.eq(word + 1), rest.eq(rest - hw.cols), first_word.eq(0)]
            with m.If(last_word):
                m.d.sync += [
                    word.eq(0),
                    rest.eq(ins.channels),
                    first_word.eq(1),
                    first_row.eq(0),
                    count.eq(count + ins.wait0_step),
                    active.eq(~walk.last),
                ]
        with m.If(start):
            m.d.sync += [
                active.eq(1),
                first_row.eq(1),
                first_word.eq(1),
                word.eq(0),
                rest.eq(ins.channels),
                count.eq(ins.wait0_count),
            ]
        return queue

    def split(self, m: Module, ins, queue: SyncFIFO, norm: LayerNorm) -> None:
        """Words into beats; what lies in a word beyond the row's end is left out."""
        hw, L = self.hw, self.hw.norm_lanes
        beats = hw.cols // L
        part = Signal(range(max(beats, 2)))  # beat of the word
        column = Signal.like(ins.channels)  # of the beat's lane 0
        taken, last = Signal(), Signal()
        m.d.comb += [
            taken.eq(norm.i.valid & norm.i.ready),
            last.eq(column + L >= ins.channels),
            norm.i.valid.eq(queue.r_rdy),
            norm.i.payload.eq(queue.r_data.word_select(part, L * INT16.width)),
            queue.r_en.eq(taken & (last | (part == beats - 1))),
        ]
        with m.If(taken):
            m.d.sync += [
                part.eq(Mux(queue.r_en, 0, part + 1)),
                column.eq(Mux(last, 0, column + L)),
            ]

    def write(self, m: Module, ins, start: Signal, norm: LayerNorm):
        """Beats into words of the activations. Returns: the instruction's last one is written."""
        hw, L = self.hw, self.hw.norm_lanes
        beat = norm.o.payload
        column = Signal.like(ins.channels, name="written")
        step, mask = Signal(), Signal(L)
        walk = RowWalk(m, ins, "to", start, step & beat.last)
        lane = column[: ceil_log2(hw.rows)]
        m.d.comb += [
            mask.eq(Cat(column + n < ins.channels for n in range(L))),
            self.acts.valid.eq(norm.o.valid),
            norm.o.ready.eq(self.acts.ready),
            step.eq(norm.o.valid & self.acts.ready),
            self.acts.addr.eq(walk.addr + (column >> ceil_log2(hw.rows))),
            self.acts.data.eq(packed(beat.data, INT8.width).replicate(hw.rows // L)),
            self.acts.mask.eq(mask << lane),
            self.finished.eq(step & beat.last),
            self.trace.valid.eq(step),
            self.trace.mask.eq(mask),
            self.trace.data.eq(beat.data),
        ]
        with m.If(step):
            m.d.sync += column.eq(Mux(beat.last, 0, column + L))
        return self.finished & walk.last
