"""The accelerator's array: carries out GEMMs, a K tile a cycle, and queues rows of int32 sums.

Loops, addresses and waits: docs/accelerator.md.
"""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.attention_codes import LIS4
from fqvit_hw.formats import ACC, CODE, INT8, OPERAND
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import Opcode, Unit

from ..parts.accumulator import Accumulator, AccumulatorConfig
from ..parts.code_values import is_mode, value_of
from ..parts.dot import Dot
from ..parts.packed import extend, packed
from .ports import COUNT, PROGRESS, instruction, read_port
from .row_wait import AHEAD, count_of
from .scratchpad import READ
from .tiles import tile_reader
from .weights import weight_ring

ROOM = 16  # rows of the output queue
STATES = ("idle", "busy", "tile", "acts", "norm", "codes", "room")
LOOPS = ("k_tiles", "inner", "rows", "k_groups", "outer")  # from the innermost one


class Gemm(wiring.Component):
    """Operand rows times tiles: reads both, multiplies, adds up over K.

    Parameters
    ----------
    hw : Hardware
        the array's size, the memories

    Members
    -------
    i : In, stream of GEMM
        the instructions
    progress : In, PROGRESS
        counts of all units, for the waits
    acts : Out, read_port
        words of R int8; must never be refused
    codes : Out, read_port
        words of R codes; must never be refused
    tile : Out, tile_reader
        the tile of the beat
    ring : Out, weight_ring
        tiles loaded and given back
    o : Out, stream of {data: int32 x C}
        a row of a column tile each
    finished : Out, 1
        pulses when a row has been read
    state : Out, range(len(STATES))
        what the cycle was spent on, an index of STATES
    count : Out, 16
        GEMMs started

    Latency
    -------
    In cycles after the one in which a beat (row r, K tile k) is issued, which is the one that reads
    the operand's word:

        -1  tiles are given back (`ring.release`)
        0  `acts` or `codes` is addressed
        1  the tile is addressed; `finished`, `state` and `count` tell of the beat
        2  the operand's word is there, and the tile in cycle 3
        d  d = Gemm.latency: the row that the beat completes can be taken from `o`

    A GEMM taken from `i` in cycle t is issued from cycle t + 5 on, if wait1 and the wait of row 0
    are satisfied. A count that is there in cycle t (`progress`) lets row 0 go in cycle t + 4,
    another row in cycle t + 3.

    Throughput
    ----------
    A beat a cycle. A GEMM follows the last beat of the one before without a gap; it is taken in the
    cycle of the first beat of the one before at the earliest, so that max(0, 4 - n) idle cycles
    follow a GEMM of n beats. Rows whose count is there cost nothing.

    Back-pressure
    -------------
    A beat is issued when its row may be read, its tile is loaded and, if it completes a row of `o`,
    one of the ROOM places of the queue is free: the place is taken with the beat and given back two
    cycles after the row was taken from `o`. So nothing behind ever stalls.
    """

    def __init__(self, hw: Hardware):
        self.hw = hw
        self.multiplied = tuple(codes for codes in hw.attention if codes is not LIS4)
        self.dot = Dot(
            hw.rows, hw.cols,
            operand=OPERAND.width if self.multiplied else INT8.width, weight=INT8.width,
            bitshift=LIS4 in hw.attention, shifters=hw.shifters,
        )  # fmt: skip
        self.accumulator = AccumulatorConfig(hw.cols, hw.sums, self.dot.sum_width)
        super().__init__(
            {
                "i": In(stream.Signature(instruction(Opcode.GEMM))),
                "progress": In(PROGRESS),
                "acts": Out(read_port(hw.acts, INT8.width * hw.rows)),
                "codes": Out(read_port(hw.codes, hw.code_bits * hw.rows)),
                "tile": Out(tile_reader(hw)),
                "ring": Out(weight_ring(hw)),
                "o": Out(stream.Signature(self.accumulator.o)),
                "finished": Out(1),
                "state": Out(range(len(STATES))),
                "count": Out(16),
            }
        )

    @property
    def latency(self) -> int:
        """The word read, the sums, the accumulator, the queue."""
        return READ + self.dot.stages + Accumulator.latency + 1

    @property
    def job(self) -> data.StructLayout:
        """A GEMM as it is carried out; the loops' limits less 1."""
        gemm = instruction(Opcode.GEMM)
        kept = (
            *LOOPS,
            "row_group",
            "codes",
            "mode",
            "resident",
            "from_base",
            "from_stride",
            "from_jump",
        )
        kept += ("tile_base", "tile_inner", "tile_k", "wait0_unit", "wait0_count", "wait0_step")
        kept += ("wait1_unit", "wait1_count")
        return data.StructLayout({name: gemm.members[name] for name in kept})

    def elaborate(self, platform):
        m = Module()
        next_, start, known, late, have = self._fetch(m)
        job, active = Signal(self.job), Signal()
        issue = Signal()
        index, first, last, end = self._loops(m, job, next_, start, issue)
        with m.If(start):
            m.d.sync += [job.eq(next_), active.eq(1)]
        with m.Elif(end["outer"]):
            m.d.sync += active.eq(0)
        m.d.comb += start.eq(known & (end["outer"] | ~active))

        row_open = self._row_wait(m, job, next_, start, active, end, have)
        releases = last["inner"] & last["rows"] & ~job.resident  # the tiles of this round
        room, completes = Signal(range(ROOM + 1), init=ROOM), Signal()
        some_room = Signal(init=1)  # room that is given back shows a cycle later
        tile_there = job.resident | self._loaded(m, issue, index, last, releases)
        m.d.comb += [
            completes.eq(last["k_tiles"] & last["k_groups"]),
            issue.eq(active & row_open & tile_there & (~completes | some_room)),
        ]
        m.d.sync += [
            room.eq(room - (issue & completes) + (self.o.valid & self.o.ready)),
            some_room.eq(Mux(issue & completes, room > 1, room != 0)),
        ]
        self._state(m, job, next_, active, issue, row_open, tile_there, late)

        m.d.comb += self.ring.release.eq(Mux(end["rows"] & ~job.resident, job.k_tiles + 1, 0))

        # Whether a beat goes takes a cycle, its addresses the next one: there all is a cycle late.
        beat, late_job = Signal(self.beat), Signal(self.job, name="late_job")
        m.d.sync += [
            beat.go.eq(issue),
            beat.start.eq(start),
            beat.row.eq(Mux(job.k_groups != 0, index["rows"], 0)),  # else the newest row will do
            beat.starts.eq(first["k_tiles"] & first["k_groups"]),
            beat.completes.eq(completes),
            *(beat.last[name].eq(last[name]) for name in LOOPS),
            *(beat.end[name].eq(end[name]) for name in LOOPS),
            late_job.eq(job),
            self.finished.eq(beat.end.inner),
        ]
        with m.If(beat.start):
            m.d.sync += self.count.eq(self.count + 1)
        word = self._word(m, late_job, job, beat)
        m.d.comb += [
            self.acts.valid.eq(beat.go & ~late_job.codes),
            self.acts.addr.eq(word),
            self.codes.valid.eq(beat.go & late_job.codes),
            self.codes.addr.eq(word),
        ]
        m.d.sync += self.tile.addr.eq(self._tile(m, late_job, job, beat))
        self._sums(m, late_job, beat)
        return m

    @property
    def beat(self) -> data.StructLayout:
        """A beat that goes, or none; `start`: a GEMM begins with the next one."""
        loops = data.StructLayout({name: 1 for name in LOOPS})
        return data.StructLayout(
            {"go": 1, "start": 1, "row": self.sum_bits, "starts": 1, "completes": 1,
             "last": loops, "end": loops}
        )  # fmt: skip

    @property
    def sum_bits(self) -> int:
        return (max(self.hw.sums, 2) - 1).bit_length()

    def _fetch(self, m: Module):
        """The next GEMM waits in a register: `known` when it may start; `late`: what for; the count
        of its wait0, a cycle late.
        """
        gemm, next_ = self.i.payload, Signal(self.job, name="next")
        there, selected, known, start = Signal(), Signal(), Signal(), Signal()
        late = Signal(2)
        m.d.comb += self.i.ready.eq(~there)
        with m.If(~there):
            for name in self.job.members:
                value = getattr(gemm, name)
                if name in (*LOOPS, "row_group"):
                    value = (value - 1)[: len(value)]
                elif name == "tile_k":
                    value = Mux(gemm.resident, value, 1)
                m.d.sync += next_[name].eq(value)
            m.d.sync += there.eq(self.i.valid)
        with m.Elif(start):
            m.d.sync += there.eq(0)
        have = [Signal(COUNT, name=f"have_first{n}") for n in range(2)]
        m.d.sync += [
            have[0].eq(count_of(self.progress, next_.wait0_unit)),
            have[1].eq(count_of(self.progress, next_.wait1_unit)),
            selected.eq(there & ~start),
        ]
        short = Cat(have[0] < next_.wait0_count, have[1] < next_.wait1_count)
        m.d.sync += [
            known.eq(selected & ~start & (short == 0)),
            late.eq(Mux(selected & ~start, short, 0)),
        ]
        return next_, start, known, late, have[0]

    def _loops(self, m: Module, job, next_, start, issue):
        """index: of the loops of K tiles and rows; first, last: a loop is in that round; end: its
        last beat goes. first and last are registers, worked out a round ahead.
        """
        index, first, last, end = {}, {}, {}, {}
        step, round_ = issue, Const(1)  # round_: all loops inside are in their last round
        for name in LOOPS:
            total = job[name]  # less 1
            first[name], last[name] = Signal(name=f"{name}_first"), Signal(name=f"{name}_last")
            end[name] = Signal(name=f"{name}_end")
            left, single = Signal.like(total, name=f"{name}_left"), Signal(name=f"{name}_single")
            together = Signal(name=f"{name}_together")
            m.d.comb += [together.eq(round_ & last[name]), end[name].eq(issue & together)]
            round_ = together
            m.d.sync += single.eq(next_[name] == 0)  # of the next GEMM, known when it may start
            one = Signal(name=f"{name}_one")  # of this one
            with m.If(start):
                m.d.sync += [left.eq(next_[name]), one.eq(single)]
                m.d.sync += [first[name].eq(1), last[name].eq(single)]
            with m.Elif(end[name]):
                m.d.sync += [left.eq(total), first[name].eq(1), last[name].eq(one)]
            with m.Elif(step):
                m.d.sync += [left.eq(left - 1), first[name].eq(0), last[name].eq(left == 1)]
            if name in ("k_tiles", "rows"):
                index[name] = Signal(len(total), name=f"{name}_index")
                with m.If(start | end[name]):
                    m.d.sync += index[name].eq(0)
                with m.Elif(step):
                    m.d.sync += index[name].eq(index[name] + 1)
            step = end[name]
        return index, first, last, end

    def _loaded(self, m: Module, issue, index, last, releases) -> Signal:
        """Is the beat's streamed tile loaded? A register: it looks at the next beat's one.

        releases: after this round over K its tiles are no longer among the loaded ones.
        """
        k, loaded, there = index["k_tiles"], self.ring.loaded, Signal(name="loaded")
        following = Mux(last["k_tiles"] & ~releases, loaded != 0, k + 1 < loaded)
        m.d.sync += there.eq(Mux(issue, following, k < loaded))
        return there

    def _row_wait(self, m: Module, job, next_, start, active, end, first):
        """Rows are allowed ahead, one a cycle, at most three; in later passes all of them are.

        first: what the next GEMM's counter of wait0 was a cycle ago.
        """
        have, need, allowed = Signal(COUNT), Signal(COUNT), Signal(range(AHEAD + 1))
        more, all_open, open_, known = Signal(), Signal(), Signal(), Signal.like(allowed)
        m.d.comb += [
            more.eq(active & (allowed != AHEAD) & (have >= need)),
            known.eq(allowed + more),
        ]
        m.d.sync += [
            have.eq(Mux(start, first, count_of(self.progress, job.wait0_unit))),
            need.eq(need + (more & job.wait0_step)),
            allowed.eq(known - end["inner"]),
            open_.eq(all_open | Mux(end["inner"], known > 1, known != 0)),
        ]
        with m.If(end["rows"]):
            m.d.sync += [all_open.eq(1), open_.eq(1)]
        with m.If(start):
            m.d.sync += [
                need.eq(next_.wait0_count + next_.wait0_step),  # of row 1
                allowed.eq(1),  # row 0
                all_open.eq(0),
                open_.eq(1),
            ]
        return open_

    def _word(self, m: Module, job, next_, beat):
        """Address of the operand: of the word, and where its row, group of rows and pass began."""
        last, end = beat.last, beat.end
        bits = (max(self.hw.acts, self.hw.codes) - 1).bit_length()
        word, row, group, pass_ = (
            Signal(bits, name=f"{name}_word") for name in ("next", "row", "group", "pass")
        )
        row_index, group_end = Signal(len(job.row_group)), Signal()
        following, next_pass = Signal(bits), Signal(bits)
        m.d.comb += [
            group_end.eq(row_index == job.row_group),
            next_pass.eq(Mux(last["k_groups"], job.from_base, pass_ + job.k_tiles + 1)),
            following.eq(
                Mux(group_end, group, row) + Mux(group_end, job.from_jump, job.from_stride)
            ),
        ]
        next_row = Mux(last["rows"], next_pass, following)
        with m.If(end["k_tiles"]):
            m.d.sync += word.eq(Mux(last["inner"], next_row, row))
        with m.Elif(beat.go):
            m.d.sync += word.eq(word + 1)
        with m.If(end["inner"]):
            m.d.sync += [row.eq(next_row), row_index.eq(row_index + 1)]
            with m.If(last["rows"] | group_end):
                m.d.sync += [group.eq(next_row), row_index.eq(0)]
        with m.If(end["rows"]):
            m.d.sync += pass_.eq(next_pass)
        with m.If(beat.start):
            m.d.sync += Cat(word, row, group, pass_).eq(next_.from_base[:bits].replicate(4))
            m.d.sync += row_index.eq(0)
        return word

    def _tile(self, m: Module, job, next_, beat):
        """Address of the tile: of the beat's, and where its column tile and its pass began.

        Weights follow each other in the ring: after a pass of all rows the oldest one is the next.
        """
        hw, last, end = self.hw, beat.last, beat.end
        tile, column, pass_ = (
            Signal(range(hw.tiles), name=f"{name}_tile") for name in ("next", "column", "pass")
        )
        oldest = Signal(range(hw.ring))
        jump, again = Signal(), Signal()
        total, following = Signal(range(2 * hw.tiles)), Signal(range(hw.tiles))
        m.d.comb += [
            jump.eq(last["k_tiles"] & job.resident),
            again.eq(last["k_tiles"] & last["inner"] & ~last["rows"]),
            total.eq(Mux(jump, column, tile) + Mux(jump, job.tile_inner, job.tile_k)),
            following.eq(Mux(~job.resident & (total == hw.ring), 0, total)),
        ]
        released = end["rows"] & ~job.resident
        with m.If(released):
            m.d.sync += oldest.eq(following)
        with m.If(beat.go):
            m.d.sync += tile.eq(Mux(again, pass_, following))
        with m.If(end["k_tiles"]):
            m.d.sync += column.eq(Mux(again, pass_, following))
        with m.If(end["rows"]):
            m.d.sync += pass_.eq(following)
        with m.If(beat.start):
            begin = Mux(next_.resident, next_.tile_base, Mux(released, following, oldest))
            m.d.sync += [tile.eq(begin), column.eq(begin), pass_.eq(begin)]
        return tile

    def _state(self, m: Module, job, next_, active, issue, row_open, tile_there, late):
        def waiting(unit):
            special = Mux(unit == Unit.CODES, STATES.index("codes"), STATES.index("acts"))
            return Mux(unit == Unit.NORM, STATES.index("norm"), special)

        state = Mux(
            active,
            Mux(
                row_open,
                Mux(tile_there, STATES.index("room"), STATES.index("tile")),
                waiting(job.wait0_unit),
            ),
            Mux(late != 0, waiting(Mux(late[0], next_.wait0_unit, next_.wait1_unit)), 0),
        )
        now = Signal.like(self.state)
        m.d.sync += [now.eq(Mux(issue, STATES.index("busy"), state)), self.state.eq(now)]

    def _operands(self, m: Module, codes, of_codes: Signal, mode: Signal) -> list[Value]:
        """Of the multipliers, but for powers of two: activations, or values of codes."""
        rows, bits = range(self.hw.rows), self.dot.operand
        word = data.View(data.ArrayLayout(signed(INT8.width), self.hw.rows), self.acts.data)
        if not self.multiplied:
            return [word[r] for r in rows]
        values = [value_of(m, codes[r], mode, self.multiplied, f"code{r}") for r in rows]
        return [
            Mux(of_codes, extend(values[r], bits), extend(word[r], bits)).as_signed() for r in rows
        ]

    def _sums(self, m: Module, job, beat) -> None:
        """From the words read to the queue; `told` (addr, first, last) travels beside the sums."""
        told = Cat(beat.row, beat.starts, beat.completes)
        hw, dot = self.hw, self.dot
        m.submodules.accumulator = accumulator = Accumulator(self.accumulator)
        m.submodules.queue = queue = fifo.SyncFIFO(width=hw.cols * ACC.width, depth=ROOM)
        stages = READ + dot.stages
        valid = Signal(stages)
        beside = [told] + [Signal(len(told), name=f"told{n}") for n in range(stages)]
        kind = [Cat(job.codes, job.mode)]  # of the operand, to the cycle of its word
        for n in range(READ):
            kind.append(Signal(len(kind[0]), name=f"kind{n}"))
        of_codes, mode = kind[-1][0], kind[-1][1:]
        m.d.sync += valid.eq(Cat(beat.go, valid))
        m.d.sync += [after.eq(before) for before, after in pairwise(kind)]
        m.d.sync += [after.eq(before) for before, after in pairwise(beside)]
        codes = data.View(data.ArrayLayout(hw.code_bits, hw.rows), self.codes.data)
        tile = data.View(
            data.ArrayLayout(data.ArrayLayout(signed(INT8.width), hw.cols), hw.rows), self.tile.data
        )
        powers = [codes[r][: CODE.width] for r in range(hw.rows)]
        weights = [[tile[r][c] for c in range(hw.cols)] for r in range(hw.rows)]
        operands = self._operands(m, codes, of_codes, mode)
        shift = of_codes & is_mode(mode, LIS4)
        sums = dot.sums(m, Const(1), operands, powers, shift, weights)
        m.d.comb += [
            accumulator.i.valid.eq(valid[-1]),
            accumulator.i.payload.eq(Cat(packed(sums, dot.sum_width), beside[-1])),
            accumulator.o.ready.eq(1),
            queue.w_en.eq(accumulator.o.valid),
            queue.w_data.eq(accumulator.o.payload.data),
            self.o.valid.eq(queue.r_rdy),
            self.o.payload.data.eq(queue.r_data),
            queue.r_en.eq(self.o.ready),
        ]
