"""The accelerator's array: carries out GEMMs, a K tile a cycle, and queues rows of int32 sums.

Loops, addresses and waits: docs/accelerator.md.
"""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
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
from .scratchpad import READ
from .tiles import tile_reader
from .weights import weight_ring

ROOM = 8  # rows of the output queue
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

        0  `acts` or `codes` is addressed; tiles are given back (`ring.release`)
        1  the tile is addressed; `finished`, `state` and `count` tell of the beat
        2  the operand's word is there, and the tile in cycle 3
        d  d = Gemm.latency: the row that the beat completes can be taken from `o`

    A GEMM taken from `i` in cycle t is issued from cycle t + 4 on, if wait1 and the wait of row 0
    are satisfied. A count that is there in cycle t (`progress`) lets row 0 go in cycle t + 3,
    another row in cycle t + 2.

    Throughput
    ----------
    A beat a cycle. A GEMM follows the last beat of the one before without a gap; it is taken in the
    cycle of the first beat of the one before at the earliest, so that max(0, 4 - n) idle cycles
    follow a GEMM of n beats. Rows whose count is there cost nothing.

    Back-pressure
    -------------
    A beat is issued when its row may be read, its tile is loaded and, if it completes a row of `o`,
    one of the ROOM places of the queue is free: the place is taken with the beat and given back in
    the cycle after the row was taken from `o`. So nothing behind ever stalls.
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
        next_, start, known, late = self._fetch(m)
        job, active = Signal(self.job), Signal()
        issue = Signal()
        index, first, last, end = self._loops(m, job, next_, start, issue)
        with m.If(start):
            m.d.sync += [job.eq(next_), active.eq(1), self.count.eq(self.count + 1)]
        with m.Elif(end["outer"]):
            m.d.sync += active.eq(0)
        m.d.comb += start.eq(known & (end["outer"] | ~active))

        row_open = self._row_wait(m, job, next_, start, active, end)
        tile = self._tile(m, job, next_, start, issue, last, end)
        word = self._word(m, job, next_, start, issue, index, last, end)
        room, completes = Signal(range(ROOM + 1), init=ROOM), Signal()
        tile_there = job.resident | self._loaded(m, job, issue, index, last)
        m.d.comb += [
            completes.eq(last["k_tiles"] & last["k_groups"]),
            issue.eq(active & row_open & tile_there & (~completes | (room != 0))),
        ]
        m.d.sync += [
            self.finished.eq(end["inner"]),
            room.eq(room - (issue & completes) + (self.o.valid & self.o.ready)),
        ]
        self._state(m, job, next_, active, issue, row_open, tile_there, late)
        m.d.comb += [
            self.acts.valid.eq(issue & ~job.codes),
            self.acts.addr.eq(word),
            self.codes.valid.eq(issue & job.codes),
            self.codes.addr.eq(word),
        ]
        m.d.sync += self.tile.addr.eq(tile)
        starts = first["k_tiles"] & first["k_groups"]
        row = Mux(job.k_groups != 0, index["rows"], 0)  # else the newest row is all that is needed
        self._sums(m, job, issue, Cat(row[: self.sum_bits], starts, completes))
        return m

    @property
    def sum_bits(self) -> int:
        return (max(self.hw.sums, 2) - 1).bit_length()

    def _fetch(self, m: Module):
        """The next GEMM waits in a register: `known` when it may start; `late`: what for."""
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
            have[0].eq(self._count(next_.wait0_unit)),
            have[1].eq(self._count(next_.wait1_unit)),
            selected.eq(there & ~start),
        ]
        short = Cat(have[0] < next_.wait0_count, have[1] < next_.wait1_count)
        m.d.sync += [
            known.eq(selected & ~start & (short == 0)),
            late.eq(Mux(selected & ~start, short, 0)),
        ]
        return next_, start, known, late

    def _count(self, unit: Value) -> Value:
        """More than any count for NONE."""
        counts = [self.progress[name] for name in PROGRESS.members]
        return Array([Const(-1, COUNT), *counts, Const(-1, COUNT)])[unit]

    def _loops(self, m: Module, job, next_, start, issue):
        """index: of the loops of K tiles and rows; first, last: a loop is in that round; end: its
        last beat goes. first and last are registers, worked out a round ahead.
        """
        index, first, last, end = {}, {}, {}, {}
        step = issue
        for name in LOOPS:
            total = job[name]  # less 1
            first[name], last[name] = Signal(name=f"{name}_first"), Signal(name=f"{name}_last")
            end[name] = Signal(name=f"{name}_end")
            left, single = Signal.like(total, name=f"{name}_left"), Signal(name=f"{name}_single")
            m.d.comb += end[name].eq(step & last[name])
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

    def _loaded(self, m: Module, job, issue, index, last) -> Signal:
        """Is the beat's streamed tile loaded? A register: it looks at the next beat's one."""
        k, loaded, there = index["k_tiles"], self.ring.loaded, Signal(name="loaded")
        releases = last["inner"] & last["rows"] & ~job.resident  # the tiles of this round
        following = Mux(last["k_tiles"] & ~releases, loaded != 0, k + 1 < loaded)
        m.d.sync += there.eq(Mux(issue, following, k < loaded))
        return there

    def _row_wait(self, m: Module, job, next_, start, active, end):
        """Rows are allowed ahead, one a cycle, at most three; in later passes all of them are."""
        have, need, allowed, open_ = Signal(COUNT), Signal(COUNT), Signal(2), Signal()
        more = Signal()
        m.d.comb += more.eq(active & (allowed != 3) & (have >= need))
        m.d.sync += [
            have.eq(self._count(Mux(start, next_.wait0_unit, job.wait0_unit))),
            need.eq(need + (more & job.wait0_step)),
            allowed.eq(allowed + more - end["inner"]),
        ]
        with m.If(end["rows"]):
            m.d.sync += open_.eq(1)
        with m.If(start):
            m.d.sync += [
                need.eq(next_.wait0_count + next_.wait0_step),  # of row 1
                allowed.eq(1),  # row 0
                open_.eq(0),
            ]
        return open_ | (allowed != 0)

    def _word(self, m: Module, job, next_, start, issue, index, last, end):
        """Address of the operand: of the word, and where its row, group of rows and pass began."""
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
        with m.Elif(issue):
            m.d.sync += word.eq(word + 1)
        with m.If(end["inner"]):
            m.d.sync += [row.eq(next_row), row_index.eq(row_index + 1)]
            with m.If(last["rows"] | group_end):
                m.d.sync += [group.eq(next_row), row_index.eq(0)]
        with m.If(end["rows"]):
            m.d.sync += pass_.eq(next_pass)
        with m.If(start):
            m.d.sync += Cat(word, row, group, pass_).eq(next_.from_base[:bits].replicate(4))
            m.d.sync += row_index.eq(0)
        return word

    def _tile(self, m: Module, job, next_, start, issue, last, end):
        """Address of the tile: of the beat's, and where its column tile and its pass began.

        Weights follow each other in the ring: after a pass of all rows the oldest one is the next.
        """
        hw = self.hw
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
        released = Signal()
        m.d.comb += [
            released.eq(end["rows"] & ~job.resident),
            self.ring.release.eq(Mux(released, job.k_tiles + 1, 0)),
        ]
        with m.If(released):
            m.d.sync += oldest.eq(following)
        with m.If(issue):
            m.d.sync += tile.eq(Mux(again, pass_, following))
        with m.If(end["k_tiles"]):
            m.d.sync += column.eq(Mux(again, pass_, following))
        with m.If(end["rows"]):
            m.d.sync += pass_.eq(following)
        with m.If(start):
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
        m.d.sync += self.state.eq(Mux(issue, STATES.index("busy"), state))

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

    def _sums(self, m: Module, job, issue, told) -> None:
        """From the words read to the queue; `told` (addr, first, last) travels beside the sums."""
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
        m.d.sync += valid.eq(Cat(issue, valid))
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
