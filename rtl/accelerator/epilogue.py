"""The epilogue unit: rows of accumulators become activations, keys, values, stream or scores."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import ACC, INT8, INT16, ceil_log2
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import Epilogue, Opcode

from ..blocks.gelu import GeluConfig
from ..parts.count_down import count_down
from ..parts.packed import packed
from ..parts.row_norm import sum_bits
from ..parts.row_walk import RowWalk
from .codes import FIELDS as CODES_FIELDS
from .codes import SCORES_WAITING, reciprocal_beat, scores_beat, scores_job
from .epilogue_math import CONSTANTS, LATENCY, PARAMS, READ, EpilogueMath, decoded
from .ports import PROGRESS, instruction, reached, read_port, write_port
from .scratchpad import READ as READ_LATENCY
from .tiles import lane_writer
from .trace import trace

INSTRUCTION = instruction(
    Opcode.GEMM, *CONSTANTS, *CODES_FIELDS, "wait2_unit", "wait2_count", "inner", "outer"
)


class EpilogueUnit(wiring.Component):
    """Bias, row normalization, requantize, GELU or residual add, E columns a cycle.

    The constants of an instruction hold still while it is inside: the next one is taken in the
    cycle in which its last chunk is written.

    Parameters
    ----------
    hw : Hardware
        the array's size, the lanes, the memories

    Members
    -------
    i : In, stream of GEMM
        every GEMM
    progress : In, PROGRESS
        counts of all units, for the wait
    rows : In, stream of {data: int32 x C}
        accumulators, in the order row, inner column tile
    params_ready : In, 1
        the parameters of the oldest column tile with scalar = 0 are there
    params_addr : Out, range(C / E)
        which chunk of them
    params_data : In, PARAMS x E
        that chunk, in the next cycle
    params_release : Out, 1
        the column tile is done with, in the cycle in which the last chunk of the last row enters
    reciprocals : In, stream of reciprocal_beat
        one taken a row if `codes`, in the cycle after its last chunk
    acts, stream : Out, write_port
        activations and stream; must never be refused
    stream_read : Out, read_port
        of the stream; must never be refused
    tiles : Out, lane_writer
        keys and values
    job : Out, stream of scores_job
        a SCORES instruction for the codes unit, taken when `i` is
    scores : Out, stream of scores_beat
        its beats
    score_taken : In, 1
        one of the SCORES_WAITING places is free again
    table : In, stream of {addr, data}
        of the GELU (`rtl.blocks.gelu`)
    finished : Out, 1
        the last chunk of a row is written in this cycle: a pulse for every row of every pass
    busy : Out, 1
        an instruction is under way
    trace : Out, trace
        every chunk, when written

    Latency
    -------
    A chunk of E columns is written LATENCY = 20 cycles after it enters, whatever becomes of it.

    Throughput
    ----------
    A chunk a cycle. A row of a column tile takes as many cycles as it has chunks with columns below
    `columns`, at least one; rows, column tiles and passes follow each other without a bubble, but
    for a cycle after a row that takes a reciprocal and after a pass that takes parameters. The
    first chunk of the next instruction may enter three cycles after it is taken, 23 cycles after
    the last one entered.

    Back-pressure
    -------------
    A chunk enters when all it needs is there: a row of accumulators; before the first one wait2;
    parameters or `scalar`; a reciprocal, if `codes`; a place in the score queue, if SCORES.
    Nothing stalls on the way, so nothing that is written may be refused.
    """

    latency = LATENCY

    def __init__(self, hw: Hardware):
        self.hw = hw
        E = hw.lanes
        beat = data.StructLayout({"data": data.ArrayLayout(signed(ACC.width), hw.cols)})
        super().__init__(
            {
                "i": In(stream.Signature(INSTRUCTION)),
                "progress": In(PROGRESS),
                "rows": In(stream.Signature(beat)),
                "params_ready": In(1),
                "params_addr": Out(range(hw.cols // E)),
                "params_data": In(data.ArrayLayout(PARAMS, E)),
                "params_release": Out(1),
                "reciprocals": In(stream.Signature(reciprocal_beat())),
                "acts": Out(write_port(hw.acts, hw.rows * INT8.width, INT8.width)),
                "stream_read": Out(read_port(hw.stream, hw.cols * INT16.width)),
                "stream": Out(write_port(hw.stream, hw.cols * INT16.width, INT16.width)),
                "tiles": Out(lane_writer(hw)),
                "job": Out(stream.Signature(scores_job())),
                "scores": Out(stream.Signature(scores_beat(hw))),
                "score_taken": In(1),
                "table": In(stream.Signature(GeluConfig(E).table)),
                "finished": Out(1),
                "busy": Out(1),
                "trace": Out(trace(E, signed(32))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.math = math = EpilogueMath(
            self.hw.lanes,
            sum_bits(self.hw.attention, self.hw.max_tokens),
            self.hw.wide_multipliers,
        )
        wiring.connect(m, wiring.flipped(self.table), math.table)
        ins = Signal(INSTRUCTION, name="ins", reset_less=True)
        # what goes along with a chunk: marks[k] after k registers
        mark = data.StructLayout(
            {
                "valid": 1,
                "mask": self.hw.lanes,
                "ends_row": 1,
                "ends": 1,  # the instruction
                "column": len(ins.columns),
            }
        )
        marks = [Signal(mark, name=f"mark{n}") for n in range(LATENCY + 1)]
        m.d.sync += [after.eq(before) for before, after in pairwise(marks)]
        is_op = decoded(m, ins.epilogue)
        m.d.comb += [math.ins[name].eq(ins[name]) for name in CONSTANTS]
        late = Signal(2)  # of stage 1: an instruction begins with the next chunk, a row ends
        self.enter(m, ins, is_op, marks, late, math)
        self.write(m, is_op, marks, self.place(m, ins, is_op, marks, late), math)
        return m

    def enter(self, m: Module, ins, is_op, marks, late, math) -> None:
        """Stage 0: an instruction's rows, their column tiles and chunks; admission."""
        hw, E = self.hw, self.hw.lanes
        loaded, taken, start, active, first = (Signal() for _ in range(5))
        free, take, fire = Signal(), Signal(), Signal()
        scores = self.i.payload.epilogue == Epilogue.SCORES
        m.d.comb += [
            free.eq(~loaded | (marks[-1].valid & marks[-1].ends)),
            self.job.valid.eq(self.i.valid & free & scores),
            self.i.ready.eq(free & (~scores | self.job.ready)),
            take.eq(self.i.valid & self.i.ready),
            self.busy.eq(loaded),
            math.active.eq(loaded),
        ]
        m.d.comb += [
            getattr(self.job.payload, name).eq(getattr(self.i.payload, name))
            for name in scores_job().members
        ]
        m.d.sync += [taken.eq(take), start.eq(taken)]
        with m.If(free):
            m.d.sync += loaded.eq(take)
        with m.If(take):
            m.d.sync += ins.eq(self.i.payload)

        chunk = Signal.like(self.params_addr)
        per_tile = hw.cols // E
        tile = Signal(len(ins.columns) - ceil_log2(hw.cols))
        pass_tile = Signal.like(tile)  # the pass's first
        column = Signal.like(ins.columns)
        place = Cat(chunk, tile) if per_tile > 1 else tile  # columns before the chunk / E
        m.d.comb += column.eq(Cat(Const(0, ceil_log2(E)), place))
        ends_tile, ends_row, ends_pass, ends = (
            Signal(name=f"ends_{what}") for what in ("tile", "row", "pass", "instruction")
        )
        last_inner = count_down(m, "last_inner", start, fire & ends_tile, ins.inner)
        last_row = count_down(m, "last_row", start, fire & ends_row, ins.rows)
        last_outer = count_down(m, "last_outer", start, fire & ends_pass, ins.outer)
        m.d.comb += [
            ends_row.eq(ends_tile & last_inner),
            ends_pass.eq(ends_row & last_row),
            ends.eq(ends_pass & last_outer),
        ]

        # `ends_tile` is worked out a chunk ahead: the tile's last chunk, or the row's
        def is_last(following: Value, chunk_of_tile: Value | int) -> Value:
            return (chunk_of_tile == per_tile - 1) | (following + 1 >= chunks)

        chunks = Signal(len(place) + 1)  # with columns, of a row of all tiles
        m.d.sync += chunks.eq((ins.columns + (E - 1)) >> ceil_log2(E))
        bits = ceil_log2(per_tile)
        next_tile_ends = is_last((tile + 1) << bits, 0)
        pass_ends = Signal()  # the first chunk of the pass ends its tile
        with m.If(start):
            m.d.sync += [active.eq(1), first.eq(1), tile.eq(0), pass_tile.eq(0)]
            m.d.sync += [ends_tile.eq(is_last(Const(0), 0)), pass_ends.eq(is_last(Const(0), 0))]
        with m.If(fire):
            m.d.sync += [first.eq(0), chunk.eq(Mux(ends_tile, 0, chunk + 1))]
            m.d.sync += ends_tile.eq(is_last(place + 1, chunk + 1))
            with m.If(ends_tile):
                m.d.sync += [tile.eq(tile + 1), ends_tile.eq(next_tile_ends)]
            with m.If(ends_row):
                m.d.sync += [tile.eq(pass_tile), ends_tile.eq(pass_ends)]
            with m.If(ends_pass):
                m.d.sync += [tile.eq(tile + 1), pass_tile.eq(tile + 1)]
                m.d.sync += [ends_tile.eq(next_tile_ends), pass_ends.eq(next_tile_ends)]
            with m.If(ends):
                m.d.sync += active.eq(0)

        some = column < ins.columns
        places = Signal(range(SCORES_WAITING + 1), init=SCORES_WAITING)
        scored = Signal()
        asks = taken | start | (active & first)
        unscored, some_places = Signal(), Signal(init=1)
        taken_place = fire & is_op[Epilogue.SCORES]  # a chunk without columns takes none: as good
        m.d.sync += [
            unscored.eq(~is_op[Epilogue.SCORES]),
            some_places.eq(Mux(taken_place, places > 1, places != 0)),
        ]
        # what a chunk has done with is given back a cycle later
        released, used = Signal(), Signal()
        m.d.sync += [
            released.eq(fire & ends_pass & ~ins.scalar),
            used.eq(fire & ends_row & ins.codes),
        ]
        waited = reached(m, "waited", self.progress, ins.wait2_unit, ins.wait2_count, asks)
        m.d.comb += [
            scored.eq(fire & is_op[Epilogue.SCORES] & some),
            fire.eq(
                active
                & self.rows.valid
                & (waited | ~first)
                & (ins.scalar | (self.params_ready & ~released))
                & (~ins.codes | (self.reciprocals.valid & ~used))
                & (unscored | some_places)
            ),
            self.rows.ready.eq(fire & ends_tile),
            self.params_addr.eq(chunk),
            self.params_release.eq(released),
            self.reciprocals.ready.eq(used),
        ]
        m.d.sync += [
            places.eq(places + self.score_taken - scored),
            math.acc.eq(self.rows.payload.data.as_value().word_select(chunk, E * ACC.width)),
            math.reciprocal.eq(self.reciprocals.payload.reciprocal),
            math.shift.eq(self.reciprocals.payload.shift),
        ]
        m.d.comb += [
            math.params.eq(self.params_data),
            marks[0].valid.eq(fire),
            marks[0].mask.eq(Cat(column + n < ins.columns for n in range(E))),
            marks[0].ends_row.eq(ends_row),
            marks[0].ends.eq(ends),
            marks[0].column.eq(column),
        ]
        m.d.sync += late.eq(Cat(start, fire & ends_row))

    def place(self, m: Module, ins, is_op, marks, late) -> list:
        """Where each stage's chunk is written; from stage 4 on. addr: of the word, or the tile; at:
        the first of its lanes; lane: the column or row of a tile.
        """
        hw, here = self.hw, marks[1]
        R, C = ceil_log2(hw.rows), ceil_log2(hw.cols)
        keys, values = is_op[Epilogue.KEYS], is_op[Epilogue.VALUES]
        doubled = here.column << is_op[Epilogue.LOGITS]  # two int16 a column
        of_cols = values | is_op[Epilogue.RESIDUAL] | is_op[Epilogue.LOGITS]
        layout = data.StructLayout(
            {"addr": len(ins.to_base), "at": range(hw.cols), "lane": range(hw.cols)}
        )
        places = [Signal(layout, name=f"place{n}") for n in range(LATENCY + 1)]
        word, base, in_group, group = (
            Signal(len(ins.to_base), name=n) for n in ("word", "base", "in_group", "group")
        )
        token_tile = Signal.like(ins.to_jump)
        walk = RowWalk(m, ins, "to", late[0], late[1])
        token = Signal.like(ins.to_jump)
        with m.If(late[0] | (late[1] & walk.last)):
            m.d.sync += token.eq(ins.to_jump)
        with m.Elif(late[1]):
            m.d.sync += token.eq(token + 1)
        m.d.sync += [
            word.eq(Mux(of_cols, doubled >> C, here.column >> R)),
            base.eq(Mux(keys | values, ins.to_base, walk.addr)),
            token_tile.eq(Mux(keys | values, Mux(values, token >> R, token >> C), 0)),
            group.eq(token_tile * ins.to_stride),
            in_group.eq(word + base),
            places[2].at.eq(Mux(of_cols, doubled[:C], here.column[:R])),
            places[2].lane.eq(Mux(values, token[:R], token[:C])),
        ]
        m.d.sync += [after.eq(before) for before, after in pairwise(places[2:])]
        m.d.sync += places[4].addr.eq(in_group + group)
        return places

    def write(self, m: Module, is_op, marks, places, math) -> None:
        """A word of the stream is read for stage READ; the last stage writes."""
        hw, E = self.hw, self.hw.lanes

        def decided(stage: int, *ops: Epilogue) -> Signal:
            """Is a chunk of one of these in `stage`, with columns? Worked out a stage before, so
            that who is refused for it knows at once.
            """
            before, wanted = marks[stage - 1], Signal()
            some = before.valid & before.mask.any()
            m.d.sync += wanted.eq(some & Cat(is_op[op] for op in ops).any())
            return wanted

        read = READ - 1 - READ_LATENCY
        at = places[READ - 1].at >> ceil_log2(E)
        m.d.comb += [
            self.stream_read.valid.eq(decided(read, Epilogue.RESIDUAL)),
            self.stream_read.addr.eq(places[read].addr),
        ]
        m.d.sync += math.x.eq(self.stream_read.data.word_select(at, E * INT16.width))
        mark, place, result = marks[LATENCY], places[LATENCY], math.result
        codes = packed(result, INT8.width)
        halves = packed(result, INT16.width)
        logits = is_op[Epilogue.LOGITS]
        wide = Cat(bit.replicate(2) for bit in mark.mask)
        wide_lanes = result.as_value().replicate(hw.cols // (2 * E))
        m.d.comb += [
            self.acts.valid.eq(decided(LATENCY, Epilogue.CODES8, Epilogue.GELU)),
            self.acts.addr.eq(place.addr),
            self.acts.data.eq(codes.replicate(hw.rows // E)),
            self.acts.mask.eq(mark.mask << place.at),
            self.stream.valid.eq(decided(LATENCY, Epilogue.RESIDUAL, Epilogue.LOGITS)),
            self.stream.addr.eq(place.addr),
            self.stream.data.eq(Mux(logits, wide_lanes, halves.replicate(hw.cols // E))),
            self.stream.mask.eq(Mux(logits, wide, mark.mask) << place.at),
            self.tiles.valid.eq(decided(LATENCY, Epilogue.KEYS, Epilogue.VALUES)),
            self.tiles.kind.eq(is_op[Epilogue.VALUES]),
            self.tiles.tile.eq(place.addr),
            self.tiles.lane.eq(place.lane),
            self.tiles.at.eq(place.at),
            self.tiles.data.eq(codes),
            self.tiles.mask.eq(mark.mask),
            self.scores.valid.eq(decided(LATENCY, Epilogue.SCORES)),
            self.scores.payload.data.eq(codes),
            self.scores.payload.last.eq(mark.ends),
            self.finished.eq(mark.valid & mark.ends_row),
            self.trace.valid.eq(mark.valid),
            self.trace.mask.eq(mark.mask),
            self.trace.data.eq(result),
        ]
