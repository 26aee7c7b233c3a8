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
from ..parts.count_down import count_down
from ..parts.dot import Dot
from ..parts.packed import extend, packed
from ..parts.there import there
from .ports import COUNT, PROGRESS, instruction, read_port
from .row_wait import AHEAD, count_of
from .scratchpad import READ
from .tiles import tile_reader
from .weights import weight_ring

ROOM = 16  # rows of the output queue
STATES = ("idle", "busy", "tile", "acts", "norm", "codes", "room")
LOOPS = ("k_tiles", "inner", "rows", "k_groups", "outer")  # from the innermost one
INSTRUCTION = instruction(
    Opcode.GEMM,
    *LOOPS,
    *("row_group", "from_base", "from_stride", "from_jump", "codes", "mode", "resident"),
    *("tile_base", "tile_inner", "tile_k", "wait0_unit", "wait0_count", "wait0_step"),
    *("wait1_unit", "wait1_count"),
)


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
            bitshift=LIS4 in hw.attention, shifters=hw.shifters, pairs=hw.wide_multipliers,
        )  # fmt: skip
        self.accumulator = AccumulatorConfig(hw.cols, hw.sums, self.dot.sum_width)
        super().__init__(
            {
                "i": In(stream.Signature(INSTRUCTION)),
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
        """A GEMM as it is carried out; the loops' limits less 1; single, double: have they one
        round, two?
        """
        rounds = data.StructLayout({name: 1 for name in (*LOOPS, "row_group")})
        return data.StructLayout(INSTRUCTION.members | {"single": rounds, "double": rounds})

    def elaborate(self, platform):
        m = Module()
        next_, start, started, known, late, have = self._fetch(m)
        job, active = Signal(self.job), Signal()
        issue, fresh = Signal(), Signal()
        index, first, last, end, ending, completes, completes_then = self._loops(
            m, job, next_, active, issue
        )
        # Without a GEMM the next one's fields are taken in each cycle, and go when it is known:
        # that spares `known` a place in front of every register.
        m.d.comb += [fresh.eq(end["outer"] | ~active), start.eq(fresh & known)]
        with m.If(fresh):
            m.d.sync += [job.eq(next_), active.eq(known)]

        row_open = self._row_wait(m, job, next_, fresh, ending, active, end, have)
        releases = last["inner"] & last["rows"] & ~job.resident  # the tiles of this round
        resident = Mux(ending, next_.resident, job.resident)  # of the beat after this one
        tile_there = self._loaded(m, job, issue, index, last, releases, resident)
        room_there = self._room(m, issue, completes, completes_then)
        m.d.comb += issue.eq(active & row_open & tile_there & room_there)
        self._state(m, job, next_, active, issue, row_open, tile_there, late)
        m.d.comb += self.ring.release.eq(Mux(end["rows"] & ~job.resident, job.k_tiles + 1, 0))

        # Whether a beat goes takes a cycle, its addresses the next one: there all is a cycle late.
        beat, late_job = Signal(self.beat), Signal(self.job, name="late_job")
        m.d.sync += [
            beat.go.eq(issue),
            beat.fresh.eq(fresh),
            beat.row.eq(Mux(job.k_groups != 0, index["rows"], 0)),  # else the newest row will do
            beat.starts.eq(first["k_tiles"] & first["k_groups"]),
            beat.completes.eq(completes),
            beat.jump.eq(last["k_tiles"] & job.resident),
            beat.again.eq(last["k_tiles"] & last["inner"] & ~last["rows"]),
            *(beat.last[name].eq(last[name]) for name in LOOPS),
            *(beat.end[name].eq(end[name]) for name in LOOPS),
            late_job.eq(job),
            self.finished.eq(beat.end.inner),
        ]
        with m.If(started):
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
        """A beat that goes, or none; fresh: the next one is the first of its GEMM; jump, again: its
        tile does not follow this one's, is the first of the pass.
        """
        loops = data.StructLayout({name: 1 for name in LOOPS})
        return data.StructLayout(
            {"go": 1, "fresh": 1, "row": self.sum_bits, "starts": 1, "completes": 1,
             "jump": 1, "again": 1, "last": loops, "end": loops}
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
        late, started = Signal(2), Signal()  # started: `known` still speaks of the one before
        m.d.sync += started.eq(start)
        m.d.comb += self.i.ready.eq(~there)
        with m.If(~there):
            for name in INSTRUCTION.members:
                value = getattr(gemm, name)
                if name in LOOPS:
                    value = (value - 1)[: len(value)]
                elif name == "tile_k":
                    value = Mux(gemm.resident, value, 1)
                m.d.sync += next_[name].eq(value)
            for name in self.job["single"].shape.members:
                m.d.sync += next_.single[name].eq(getattr(gemm, name) == 1)
                m.d.sync += next_.double[name].eq(getattr(gemm, name) == 2)
            m.d.sync += there.eq(self.i.valid)
        with m.Elif(start):
            m.d.sync += there.eq(0)
        have = [Signal(COUNT, name=f"have_first{n}") for n in range(2)]
        m.d.sync += [
            have[0].eq(count_of(self.progress, next_.wait0_unit)),
            have[1].eq(count_of(self.progress, next_.wait1_unit)),
            selected.eq(there & ~started),
        ]
        short = Cat(have[0] < next_.wait0_count, have[1] < next_.wait1_count)
        m.d.sync += [
            known.eq(selected & ~started & (short == 0)),
            late.eq(Mux(selected, short, 0)),
        ]
        return next_, start, started, known & ~started, late, have[0]

    def _loops(self, m: Module, job, next_, active, issue):
        """index: of the loops of K tiles and rows; first, last: a loop is in that round; end: its
        last beat goes; ending: the beat is a GEMM's last one; completes, and after it: the beat,
        the next one is the last of a sum.

        All that a beat asks of the loops is in registers, worked out a beat ahead: `issue`, which
        comes late, does nothing but let them go on.
        """
        index, first, last, end = {}, {}, {}, {}
        inside = Const(1)  # all loops inside this one are in their last round
        coming, single_all = Const(1), Const(1)  # the same of the next beat, of a GEMM's first
        completes, completes_then, completes_first = Signal(), Const(1), Const(1)
        over = Signal()  # the next GEMM's loops come after this beat
        step = issue | ~active
        for name in LOOPS:
            total = job[name]  # less 1
            first[name], last[name] = Signal(name=f"{name}_first"), Signal(name=f"{name}_last")
            end[name] = Signal(name=f"{name}_end")
            left, almost = Signal.like(total, name=f"{name}_left"), Signal(name=f"{name}_almost")
            together, last_then = Signal(name=f"{name}_together"), Signal(name=f"{name}_last_then")
            m.d.comb += [
                end[name].eq(issue & together),
                last_then.eq(Mux(together, job.single[name], Mux(inside, almost, last[name]))),
            ]
            coming, single_all = coming & last_then, single_all & next_.single[name]
            with m.If(step):
                with m.If(over):
                    m.d.sync += [
                        left.eq(next_[name]),
                        last[name].eq(next_.single[name]),
                        almost.eq(next_.double[name]),
                        first[name].eq(1),
                        together.eq(single_all),
                    ]
                with m.Else():
                    m.d.sync += [last[name].eq(last_then), together.eq(coming)]
                    with m.If(together):
                        m.d.sync += [
                            left.eq(total), almost.eq(job.double[name]), first[name].eq(1)
                        ]  # fmt: skip
                    with m.Elif(inside):
                        m.d.sync += [left.eq(left - 1), almost.eq(left == 2), first[name].eq(0)]
            if name in ("k_tiles", "rows"):  # 0 when a GEMM starts
                index[name] = Signal(len(total), name=f"{name}_index")
                with m.If(end[name]):
                    m.d.sync += index[name].eq(0)
                with m.Elif(issue & inside):
                    m.d.sync += index[name].eq(index[name] + 1)
            if name in ("k_tiles", "k_groups"):
                completes_then = completes_then & last_then
                completes_first = completes_first & next_.single[name]
            inside = together
        following = Signal(name="completes_then")
        m.d.comb += [
            over.eq(~active | inside),
            following.eq(Mux(over, completes_first, completes_then)),
        ]
        with m.If(step):
            m.d.sync += completes.eq(following)
        return index, first, last, end, inside, completes, following

    def _room(self, m: Module, issue, completes, completes_then) -> Signal:
        """Is a place of the queue free, if the beat needs one? A register, of the next beat.

        completes, completes_then: this beat and the next one make a row of `o`.
        """
        room, taken, there = Signal(range(ROOM + 1), init=ROOM), Signal(), Signal(name="room_there")
        some = Mux(
            issue & completes, Mux(taken, room > 2, room > 1), Mux(taken, room > 1, room != 0)
        )
        # `room` is without what the beat before takes: a subtraction behind `issue` would be long.
        m.d.sync += [
            taken.eq(issue & completes),
            room.eq(room - taken + (self.o.valid & self.o.ready)),
            there.eq(some | ~Mux(issue, completes_then, completes)),
        ]
        return there

    def _loaded(self, m: Module, job, issue, index, last, releases, resident) -> Signal:
        """Is the beat's tile loaded? A register, of the next beat's one.

        releases: after this round over K its tiles are no longer among the loaded ones; resident:
        the tile of the beat after this one does not come from the ring. Without a GEMM `job` is the
        next one.
        """
        k, loaded, there = index["k_tiles"], self.ring.loaded, Signal(name="loaded")
        following = Mux(last["k_tiles"] & ~releases, loaded != 0, k + 1 < loaded)
        m.d.sync += there.eq(Mux(issue, following | resident, (k < loaded) | job.resident))
        return there

    def _row_wait(self, m: Module, job, next_, fresh, ending, active, end, first):
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
            # `fresh` comes late. A last beat whose row is open waits for no count any more; without
            # a GEMM `job` is the next one.
            have.eq(Mux(ending & open_, first, count_of(self.progress, job.wait0_unit))),
            need.eq(need + (more & job.wait0_step)),
            allowed.eq(known - end["inner"]),
            open_.eq(all_open | Mux(end["inner"], known > 1, known != 0)),
        ]
        with m.If(end["rows"]):
            m.d.sync += [all_open.eq(1), open_.eq(1)]
        with m.If(fresh):
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
        group_end = count_down(
            m,
            "group_end",
            beat.fresh | end["inner"] & last["rows"],
            end["inner"],
            next_.row_group,
            next_.single["row_group"],
        )
        following, next_pass = Signal(bits), Signal(bits)
        m.d.comb += [
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
            m.d.sync += row.eq(next_row)
            with m.If(last["rows"] | group_end):
                m.d.sync += group.eq(next_row)
        with m.If(end["rows"]):
            m.d.sync += pass_.eq(next_pass)
        with m.If(beat.fresh):
            m.d.sync += Cat(word, row, group, pass_).eq(next_.from_base[:bits].replicate(4))
        return word

    def _tile(self, m: Module, job, next_, beat):
        """Address of the tile: of the beat's, and where its column tile and its pass began.

        Weights follow each other in the ring: after a pass of all rows the oldest one is the next.
        """
        hw, end = self.hw, beat.end
        tile, column, pass_ = (
            Signal(range(hw.tiles), name=f"{name}_tile") for name in ("next", "column", "pass")
        )
        oldest = Signal(range(hw.ring))
        total, following = Signal(range(2 * hw.tiles)), Signal(range(hw.tiles))
        after = Signal(range(hw.tiles))
        m.d.comb += [
            total.eq(Mux(beat.jump, column, tile) + Mux(beat.jump, job.tile_inner, job.tile_k)),
            following.eq(Mux(~job.resident & (tile == hw.ring - 1), 0, total)),
        ]
        released = end["rows"] & ~job.resident
        with m.If(released):
            m.d.sync += oldest.eq(following)
        begin = Mux(next_.resident, next_.tile_base, oldest)
        from_base = beat.fresh & (next_.resident | ~released)  # else: following, which is `oldest`
        m.d.comb += after.eq(Mux(beat.again | from_base, Mux(from_base, begin, pass_), following))
        with m.If(beat.fresh | beat.go):
            m.d.sync += tile.eq(after)
        with m.If(beat.fresh | end["k_tiles"]):
            m.d.sync += column.eq(after)
        with m.If(beat.fresh | end["rows"]):
            m.d.sync += pass_.eq(after)
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
            data.ArrayLayout(data.ArrayLayout(signed(INT8.width), hw.rows), hw.cols), self.tile.data
        )
        powers = [codes[r][: CODE.width] for r in range(hw.rows)]
        weights = [[tile[c][r] for c in range(hw.cols)] for r in range(hw.rows)]
        operands = self._operands(m, codes, of_codes, mode)
        shift = of_codes & is_mode(mode, LIS4)
        sums = dot.sums(m, Const(1), operands, powers, shift, weights)
        m.d.comb += [
            accumulator.i.valid.eq(valid[-1]),
            accumulator.i.payload.eq(Cat(packed(sums, dot.sum_width), beside[-1])),
            accumulator.o.ready.eq(1),
            queue.w_en.eq(accumulator.o.valid),
            queue.w_data.eq(accumulator.o.payload.data),
            self.o.valid.eq(there(m, queue)),
            self.o.payload.data.eq(queue.r_data),
            queue.r_en.eq(self.o.ready),
        ]
