"""The norm unit: rows of the residual stream, LayerNorm, rows of activations."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import INT8, INT16, ceil_log2
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import Opcode

from ..blocks.layernorm import LayerNorm, LayerNormConfig
from ..parts.count_down import count_down
from ..parts.elastic import Elastic
from ..parts.packed import packed
from ..parts.row_walk import RowWalk
from .ports import PROGRESS, instruction, reached, read_port, write_port
from .row_wait import row_wait
from .scratchpad import READ
from .trace import trace

START = 5  # cycles from an instruction taken to its first word read
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
    latency of LayerNorm (`rtl.blocks.layernorm`) + 1. What LayerNorm makes is written in the cycle
    after it leaves.

    Throughput
    ----------
    A word a cycle is read, a beat of L channels a cycle is taken: a word lasts C / L beats. The
    next instruction is taken in the cycle after the last beat of the one before is written, and
    reads its first word START = 5 cycles later.

    Back-pressure
    -------------
    Row r is read when wait0 (stepped by row) and, before the first, wait1 are satisfied, as long as
    WORDS words have room. While the write is refused four beats wait, then LayerNorm stands still.
    """

    def __init__(self, hw: Hardware):
        self.hw = hw
        self.layernorm = LayerNormConfig(
            hw.norm_lanes, hw.max_channels, 16, True, hw.wide_multipliers
        )
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
        m.submodules.layernorm = norm = LayerNorm(self.layernorm)
        wiring.connect(m, wiring.flipped(self.params), norm.params)
        ins = Signal(instruction(Opcode.NORM), name="ins", reset_less=True)
        m.d.comb += [
            getattr(norm.config, name).eq(getattr(ins, name))
            for name in self.layernorm.layer.members
        ]
        loaded, taken, start, free, ends = (Signal() for _ in range(5))
        m.d.comb += [
            free.eq(~loaded | ends),
            self.i.ready.eq(free),
            self.busy.eq(loaded),
        ]
        m.d.sync += [taken.eq(self.i.valid & free), start.eq(taken)]
        with m.If(free):
            m.d.sync += loaded.eq(self.i.valid)
        with m.If(self.i.valid & free):
            m.d.sync += ins.eq(self.i.payload)
        self.split(m, ins, self.read(m, ins, start), norm)
        m.d.sync += ends.eq(self.write(m, ins, start, norm))
        return m

    def read(self, m: Module, ins, start: Signal) -> SyncFIFO:
        """Words of the rows into a queue."""
        hw = self.hw
        m.submodules.words = queue = SyncFIFO(width=hw.cols * INT16.width, depth=WORDS)
        active, first_row, first_word = Signal(), Signal(), Signal()
        used = Signal(range(WORDS + 1))
        step, arrives, row_end = Signal(), Signal(READ), Signal()
        words = (ins.channels + (hw.cols - 1)) >> ceil_log2(hw.cols)  # of a row
        last_word = count_down(m, "last_word", start, step, words)
        started, load = Signal(), Signal()
        walk = RowWalk(m, ins, "from", start, load)  # a row ahead of the one that is read
        at, last_row = Signal.like(self.stream.addr), Signal()
        m.d.sync += started.eq(start)
        m.d.comb += load.eq(started | row_end)
        with m.If(load):
            m.d.sync += [at.eq(walk.addr), last_row.eq(walk.last)]
        with m.Elif(step):
            m.d.sync += at.eq(at + 1)
        may_go, next_too = row_wait(m, self.progress, ins, start, active, row_end)
        asks = start | active
        waited1 = reached(m, "waited1", self.progress, ins.wait1_unit, ins.wait1_count, asks)
        # a register, so that who is refused for it knows at once
        same_row = step | ~first_word | (may_go & (waited1 | ~first_row))
        goes = Mux(row_end, next_too & ~last_row, same_row)
        room = Mux(step, used < WORDS - 1, used != WORDS)  # what is given back counts later
        m.d.sync += self.stream.valid.eq(active & room & goes)
        m.d.comb += [
            self.stream.addr.eq(at),
            step.eq(self.stream.valid & self.stream.ready),
            row_end.eq(step & last_word),
            queue.w_data.eq(self.stream.data),
            queue.w_en.eq(arrives[-1]),
        ]
        m.d.sync += [
            arrives.eq(Cat(step, arrives)),
            used.eq(used + step - (queue.r_en & queue.r_rdy)),
        ]
        with m.If(step):
            m.d.sync += first_word.eq(0)
            with m.If(last_word):
                m.d.sync += [first_word.eq(1), first_row.eq(0), active.eq(~last_row)]
        with m.If(start):
            m.d.sync += [active.eq(1), first_row.eq(1), first_word.eq(1)]
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
        layout = data.StructLayout(
            {
                "addr": self.acts.addr.shape(),
                "lane": range(hw.rows),
                "data": beat.data.shape(),
                "mask": L,
                "last": 1,
                "ends": 1,  # the instruction
            }
        )
        m.submodules.made = made = Elastic(layout)  # so that a refusal is not seen by LayerNorm
        column = Signal.like(ins.channels, name="written")
        step = Signal()
        walk = RowWalk(m, ins, "to", start, step & beat.last)
        m.d.comb += [
            made.i.valid.eq(norm.o.valid),
            norm.o.ready.eq(made.i.ready),
            step.eq(norm.o.valid & made.i.ready),
            made.i.payload.addr.eq(walk.addr + (column >> ceil_log2(hw.rows))),
            made.i.payload.lane.eq(column),
            made.i.payload.data.eq(beat.data),
            made.i.payload.mask.eq(Cat(column + n < ins.channels for n in range(L))),
            made.i.payload.last.eq(beat.last),
            made.i.payload.ends.eq(beat.last & walk.last),
        ]
        with m.If(step):
            m.d.sync += column.eq(Mux(beat.last, 0, column + L))
        written, out = Signal(), made.o.payload
        m.d.comb += [
            self.acts.valid.eq(made.o.valid),
            made.o.ready.eq(self.acts.ready),
            written.eq(made.o.valid & self.acts.ready),
            self.acts.addr.eq(out.addr),
            self.acts.data.eq(packed(out.data, INT8.width).replicate(hw.rows // L)),
            self.acts.mask.eq(out.mask << out.lane),
            self.finished.eq(written & out.last),
            self.trace.valid.eq(written),
            self.trace.mask.eq(out.mask),
            self.trace.data.eq(out.data),
        ]
        return written & out.ends
