"""The codes unit: rows of scores become attention codes in the code memory, and reciprocals.

    score queue -> Softmax of E lanes -> codes of a word of the code memory
                                      -> queue of reciprocals, for the epilogue of codes x values

The arithmetic is that of `rtl.blocks.softmax`.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import INT8, RECIPROCAL, ROW_SHIFT, ceil_log2
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import Opcode

from ..blocks.softmax import Softmax, SoftmaxConfig
from ..parts.code_values import by_mode
from ..parts.count_down import count_down
from ..parts.elastic import Elastic
from ..parts.packed import packed
from ..parts.row_walk import RowWalk
from .ports import instruction, write_port
from .trace import trace

SCORES_WAITING = 32  # beats: more than the epilogue has under way, so that it need not pause
FIELDS = ("rows", "row_group", "to_base", "to_stride", "to_jump", "columns", "row_norm", "mode")


def scores_job() -> data.StructLayout:
    """What the unit has to know of a SCORES instruction."""
    return instruction(Opcode.GEMM, *FIELDS)


def scores_beat(hw: Hardware) -> data.StructLayout:
    """last: of the instruction. The lanes beyond the last column are ignored."""
    return data.StructLayout({"data": data.ArrayLayout(signed(INT8.width), hw.lanes), "last": 1})


def reciprocal_beat() -> data.StructLayout:
    """Of a row, as `rtl.blocks.softmax` makes them."""
    return data.StructLayout({"reciprocal": RECIPROCAL.width, "shift": ROW_SHIFT.width})


class Codes(wiring.Component):
    """Softmax of rows of scores, `columns` long.

    A row ends inside a word: the rest of the word is filled with the code of 0. The constants
    of the softmax hold still while rows are inside.

    Parameters
    ----------
    hw : Hardware
        the lanes, the longest row

    Members
    -------
    job : In, stream of scores_job
        what the unit must know of a SCORES instruction; one is taken while another is under way
    scores : In, stream of scores_beat
        E scores of int8
    score_taken : Out, 1
        gives the sender back one of its SCORES_WAITING places
    codes : Out, write_port
        words of R codes
    reciprocals : Out, stream of reciprocal_beat
        one for each row; hw.max_tokens may wait
    table : In, stream of {addr, data}
        of the softmax (`rtl.blocks.softmax`)
    finished : Out, 1
        a row's codes are written and its reciprocal goes into the queue
    error : Out, 1
        sticky: a row had no sum
    busy : Out, 1
        a job is there
    trace : Out, trace
        codes as they are written

    Latency
    -------
    Every beat of codes is written in the cycle in which it leaves the softmax. A row is `finished`
    `rows_latency` of the softmax after its last beat of codes; its reciprocal leaves the queue 4
    cycles later at the earliest.

    Throughput
    ----------
    The scores of an instruction leave the queue as the softmax (`rtl.blocks.softmax`) takes them, E
    a cycle; those of the next one wait in the queue until 3 cycles after the last row of the one
    before is finished.

    Back-pressure
    -------------
    `scores` is never refused, for the sender counts its places; `codes` must never be refused.
    """

    def __init__(self, hw: Hardware):
        self.hw = hw
        self.softmax = SoftmaxConfig(hw.lanes, hw.max_tokens, hw.modes)
        super().__init__(
            {
                "job": In(stream.Signature(scores_job())),
                "scores": In(stream.Signature(scores_beat(hw))),
                "score_taken": Out(1),
                "codes": Out(write_port(hw.codes, hw.rows * hw.code_bits, hw.code_bits)),
                "reciprocals": Out(stream.Signature(reciprocal_beat())),
                "table": In(stream.Signature(self.softmax.table)),
                "finished": Out(1),
                "error": Out(1),
                "busy": Out(1),
                "trace": Out(trace(hw.lanes, hw.code_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.softmax = softmax = Softmax(self.softmax)
        wiring.connect(m, wiring.flipped(self.table), softmax.table)
        job = Signal(scores_job(), reset_less=True)
        m.d.comb += [
            softmax.config.tokens.eq(job.columns),
            softmax.config.row_norm.eq(job.row_norm),
            softmax.config.mode.eq(job.mode),
            self.error.eq(softmax.error),
        ]
        active = self.jobs(m, job)
        self.feed(m, active, softmax)
        self.write(m, job, softmax)

        m.submodules.reciprocals = queue = SyncFIFOBuffered(
            width=len(softmax.rows.payload.as_value()), depth=max(self.hw.max_tokens, 2)
        )
        # so that the softmax does not see the queue, nor the queue's memory the epilogue
        m.submodules.made = made = Elastic(softmax.rows.payload.shape())
        m.submodules.out = out = Elastic(reciprocal_beat())
        wiring.connect(m, softmax.rows, made.i)
        m.d.comb += [
            queue.w_data.eq(made.o.payload),
            queue.w_en.eq(made.o.valid),
            made.o.ready.eq(queue.w_rdy),
            self.finished.eq(made.i.valid & made.i.ready),
            out.i.valid.eq(queue.r_rdy),
            out.i.payload.eq(queue.r_data),
            queue.r_en.eq(out.i.ready),
        ]
        wiring.connect(m, out.o, wiring.flipped(self.reciprocals))
        return m

    def jobs(self, m: Module, job) -> Signal:
        """The job at hand and one that waits. Returns: is there one, `start` a cycle ago?"""
        waiting, valid = Signal.like(job, name="waiting", reset_less=True), Signal()
        loaded, fresh, self.start, active = Signal(), Signal(), Signal(), Signal()
        last_row = count_down(m, "last_finished", self.start, self.finished, job.rows)
        ends = Signal()
        m.d.comb += [
            ends.eq(self.finished & last_row),
            self.job.ready.eq(~valid),
            self.busy.eq(valid | loaded),
        ]
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += [valid.eq(1), waiting.eq(self.job.payload)]
        m.d.sync += [fresh.eq(0), self.start.eq(fresh), active.eq(loaded & ~ends & ~fresh)]
        with m.If(ends):
            m.d.sync += loaded.eq(0)
        with m.If(valid & (~loaded | ends)):
            m.d.sync += [valid.eq(0), loaded.eq(1), fresh.eq(1), active.eq(0), job.eq(waiting)]
        return active

    def feed(self, m: Module, active: Signal, softmax: Softmax) -> None:
        """Scores of this job, not of the next one, from the queue to the softmax."""
        beat = self.scores.payload
        m.submodules.scores = queue = SyncFIFO(width=len(beat.as_value()), depth=SCORES_WAITING)
        out = data.View(beat.shape(), queue.r_data)
        fed = Signal()  # all rows of the job are in the softmax
        m.d.comb += [
            self.scores.ready.eq(1),
            queue.w_data.eq(beat),
            queue.w_en.eq(self.scores.valid),
            softmax.i.valid.eq(queue.r_rdy & active & ~fed),
            softmax.i.payload.data.eq(out.data),
            queue.r_en.eq(softmax.i.valid & softmax.i.ready),
        ]
        m.d.sync += self.score_taken.eq(queue.r_en)
        with m.If(self.start):
            m.d.sync += fed.eq(0)
        with m.Elif(queue.r_en & out.last):
            m.d.sync += fed.eq(1)

    def write(self, m: Module, job, softmax: Softmax) -> None:
        """Every beat to its lanes of the row's word; the last one to the word's end."""
        hw, E = self.hw, self.hw.lanes
        beat, step = softmax.o.payload, softmax.o.valid
        column = Signal.like(job.columns)  # of lane 0
        walk = RowWalk(m, job, "to", self.start, step & beat.last)
        with m.If(step):
            m.d.sync += column.eq(Mux(beat.last, 0, column + E))
        live = [column + n < job.columns for n in range(E)]
        bits = hw.code_bits
        zero = by_mode(m, job.mode, {c: c.zero_code for c in hw.attention}, bits, "zero_code")
        codes = packed((Mux(live[n], beat.data[n], zero) for n in range(E)), bits)
        places = hw.rows // E  # of a beat in a word
        lane, place = column[: ceil_log2(hw.rows)], Signal(range(max(places, 2)))
        m.d.comb += place.eq(lane >> ceil_log2(E))
        # the places after the beat's own are filled with the code of 0
        fill = zero.replicate(E)
        data = [codes, *(Mux(place < n, fill, codes) for n in range(1, places))]
        to_end = Mux(beat.last, (1 << hw.rows) - (1 << E), 0)  # the lanes after the beat's own
        m.d.comb += [
            softmax.o.ready.eq(1),
            self.codes.valid.eq(step),
            self.codes.addr.eq(walk.addr + (column >> ceil_log2(hw.rows))),
            self.codes.data.eq(Cat(data)),
            self.codes.mask.eq((to_end | (1 << E) - 1) << lane),
            self.trace.valid.eq(step),
            self.trace.mask.eq(Cat(live)),
            self.trace.data.eq(beat.data),
        ]
