"""Softmax: rows of int8 scores become attention codes of a few bits.

Arithmetic: `fqvit_hw.units.softmax`, docs/datapath.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from fqvit_hw.attention_codes import (
    LIS4,
    MODES,
    UNIFORM8,
    AttentionCodes,
    has_exponentials,
)
from fqvit_hw.formats import EXPONENTIAL, INT8, MAX_TOKENS, RECIPROCAL, ROW_SHIFT, ceil_log2

from ..parts.adder_tree import adder_tree, tree_latency
from ..parts.checks import check_fields, check_modes
from ..parts.code_values import MODE_BITS, is_mode, value_of
from ..parts.distance_table import DistanceTable, scores, writes
from ..parts.packed import packed
from ..parts.pipeline import delayed, pipeline
from ..parts.position import inside, position
from ..parts.row_reciprocal import RowReciprocal
from ..parts.row_ring import Handover, Ring, counted
from ..parts.softmax_code import AttentionCode
from ..parts.there import there

SLACK = 14  # beats a ring must hold beyond one row: the way from its last write to its first read
ROWS_DEPTH = 8  # reciprocals that may wait, rows still in the pipeline included


@dataclass(frozen=True)
class SoftmaxConfig:
    """lanes: scores a beat; max_tokens: longest row; modes: those that are built.

    With modes of the row's maximum alone there are neither exponentials nor their sum.
    """

    lanes: int
    max_tokens: int
    modes: tuple[str, ...] = ("max4",)

    def __post_init__(self):
        check_fields(self)
        check_modes(self)
        if self.max_tokens > MAX_TOKENS:
            raise ValueError(
                f"SoftmaxConfig.max_tokens: expected 1..{MAX_TOKENS}, got {self.max_tokens}"
            )

    def beats(self, tokens: int) -> int:
        return -(-tokens // self.lanes)

    @property
    def built(self) -> tuple[AttentionCodes, ...]:
        return tuple(MODES[name] for name in self.modes)

    @property
    def exponentials(self) -> bool:
        """Whether a mode is built that needs them and their sum."""
        return has_exponentials(self.built)

    @property
    def code_bits(self) -> int:
        return max(codes.bits for codes in self.built)

    @property
    def code_latency(self) -> int:
        """From a beat read for the last time, of e or of scores, to its codes."""
        if self.exponentials:
            return AttentionCode.latency_of(UNIFORM8 in self.built)
        return DistanceTable.latency

    def latency(self, tokens: int) -> int:
        """From the handshake of a row's last beat to its first output beat, no row in the way.

        To the maximum one for the scores, one a level of its tree and one for the row's; 1 to start
        the last pass, 1 to read. With exponentials also 1 to start pass 1, its beats, those of
        the table, of the sum of a beat and of the row's sum.
        """
        maximum = 2 + ceil_log2(self.lanes)
        sums = self.beats(tokens) + self.sum_latency if self.exponentials else 0
        return maximum + 2 + sums + self.code_latency

    @property
    def sum_latency(self) -> int:
        """From the start of pass 1 to the row's sum, but for its beats."""
        return 1 + DistanceTable.latency + tree_latency(self.lanes) + 1

    @property
    def rows_latency(self) -> int:
        """From the handshake of a row's last output beat to its reciprocal in `rows`."""
        return 1 + RowReciprocal.latency_of(self.lanes) + 1  # the codes; the queue

    @property
    def min_beats(self) -> int:
        """Shorter rows take as long: the cycles of the recurrence, or those in which pass 1 has a
        sum under way and does not begin the next one."""
        return max(RowReciprocal.interval, self.sum_latency + 1 if self.exponentials else 0)

    def cycles_per_row(self, tokens: int) -> int:
        return max(self.beats(tokens), self.min_beats)

    @property
    def depth(self) -> int:
        """Beats of a ring buffer: a power of two."""
        return 1 << ceil_log2(self.beats(self.max_tokens) + SLACK)

    @property
    def sum_width(self) -> int:
        """S <= max_tokens * (2^24 - 1)."""
        return EXPONENTIAL.width + ceil_log2(self.max_tokens)

    @property
    def layer(self) -> data.StructLayout:
        """mode: its place in attention_codes.MODES; row_norm: reciprocals other than 1.0."""
        return data.StructLayout(
            {"tokens": unsigned(self.max_tokens.bit_length()), "mode": MODE_BITS, "row_norm": 1}
        )

    @property
    def table(self) -> data.StructLayout:
        return writes(self.built)

    @property
    def i(self) -> data.StructLayout:
        """mask 1: the pair is left out."""
        return data.StructLayout(
            {
                "data": data.ArrayLayout(signed(INT8.width), self.lanes),
                "mask": data.ArrayLayout(1, self.lanes),
            }
        )

    @property
    def o(self) -> data.StructLayout:
        return data.StructLayout({"data": data.ArrayLayout(self.code_bits, self.lanes), "last": 1})

    @property
    def rows(self) -> data.StructLayout:
        return data.StructLayout(
            {"reciprocal": unsigned(RECIPROCAL.width), "shift": unsigned(ROW_SHIFT.width)}
        )

    @property
    def x(self) -> data.ArrayLayout:
        """A beat between load and the pass that looks its distances up."""
        return scores(self.lanes)

    @property
    def e(self) -> data.ArrayLayout:
        """A beat between pass 1 and pass 2: exponentials, or codes."""
        return data.ArrayLayout(EXPONENTIAL.width, self.lanes)


class Softmax(wiring.Component):
    """Row maximum and codes; the sum of the row's values and its reciprocal.

    Two stages work on two rows: load (running maximum) and pass 2 (distances, table, codes). Where
    modes of the row's sum are built too, pass 1 stands between them (table and sum of exponentials)
    and pass 2 makes codes of these. A ring buffer lies between each and the next.

    Parameters
    ----------
    parameters : SoftmaxConfig
        lanes, longest row, modes

    Members
    -------
    config : In, SoftmaxConfig.layer
        tokens (1..max_tokens), mode, row_norm
    table : In, stream of {addr, data}
        writes of T[d] or E[d], always taken
    i : In, stream of {data, mask}
        int8 scores x lanes; mask 1: the pair is left out
    o : Out, stream of {data, last}
        codes x lanes, as wide as the widest mode's; the lanes beyond the row are 0
    rows : Out, stream of {reciprocal, shift}
        one beat a row: floor(2^(L + 15) / W) and L + 1 (docs/datapath.md), or 2^15 and 15 for 1.0
        where row_norm is 0 or the mode uniform8
    error : Out, 1
        sticky until reset: a row was masked everywhere

    Latency
    -------
    latency(tokens) cycles from the handshake of a row's last beat to its first output beat;
    rows_latency from that of its last output beat to its reciprocal.

    Throughput
    ----------
    cycles_per_row(tokens): `lanes` scores a cycle without bubbles for rows of at least `min_beats`
    beats, 9 or with exponentials up to 10 (16 lanes); shorter rows take as many cycles.

    Back-pressure
    -------------
    Each stage waits for room in the ring after it. Reciprocals wait in a queue: while ROWS_DEPTH
    rows are under way in pass 2 or waiting there, no further row starts it.

    Errors
    ------
    Of a row masked everywhere the codes are those of 0 and the reciprocal is 2^15.
    """

    def __init__(self, parameters: SoftmaxConfig):
        self.parameters = parameters
        self.latency, self.cycles_per_row = parameters.latency, parameters.cycles_per_row
        self.rows_latency = parameters.rows_latency
        super().__init__(
            {
                "config": In(parameters.layer),
                "table": In(stream.Signature(parameters.table)),
                "i": In(stream.Signature(parameters.i)),
                "o": Out(stream.Signature(parameters.o)),
                "rows": Out(stream.Signature(parameters.rows)),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.parameters
        m.submodules.x_ring = x_ring = Ring(c.x.size, c.depth)
        # empty: all of the row is masked
        highest = Handover(m, data.StructLayout({"x": signed(INT8.width), "empty": 1}), "highest")
        self.load(m, x_ring, highest)
        masked = Signal()
        m.d.sync += masked.eq(highest.start & highest.value.empty)
        with m.If(masked):
            m.d.sync += self.error.eq(1)
        if not c.exponentials:
            self.pass_2(m, x_ring, highest, self.codes_of_scores)
            return m
        m.submodules.e_ring = e_ring = Ring(c.e.size, c.depth)
        total = Handover(m, c.sum_width, "total")
        self.pass_1(m, x_ring, highest, e_ring, total)
        self.pass_2(m, e_ring, total, self.codes_of_exponentials)
        return m

    def lookup(self, m: Module, ring: Ring, highest: Handover, advance: Value) -> DistanceTable:
        """The entries of a row in `ring` whose pass starts with `highest.start`."""
        m.submodules.lookup = lookup = DistanceTable(self.parameters.lanes, self.parameters.built)
        wiring.connect(m, wiring.flipped(self.table), lookup.table)
        m.d.comb += [
            lookup.advance.eq(advance),
            lookup.mode.eq(self.config.mode),
            lookup.start.eq(highest.start),
            lookup.highest.eq(highest.value.x),
            lookup.x.eq(ring.read_data),
        ]
        return lookup

    def load(self, m: Module, x_ring: Ring, highest: Handover) -> None:
        """Write the row into `x_ring`, find its maximum and whether it is masked everywhere."""
        c = self.parameters
        accept = Signal()
        _, last, left = position(m, "load", self.config.tokens, c.lanes, accept)
        m.d.comb += [
            self.i.ready.eq(x_ring.room & ~(last & highest.busy)),
            accept.eq(self.i.valid & self.i.ready),
            x_ring.reserve.eq(accept),
            x_ring.write.eq(accept),
        ]
        kept = []
        written = data.View(c.x, x_ring.write_data)
        for n, (lane, real) in enumerate(zip(written, inside(left, c.lanes), strict=True)):
            m.d.comb += [
                lane.x.eq(self.i.payload.data[n]),
                lane.keep.eq(~self.i.payload.mask[n] & real),
            ]
            score = Signal(signed(INT8.width), name=f"kept_{n}", reset_less=True)
            m.d.sync += score.eq(Mux(lane.keep, lane.x, INT8.min))
            kept.append(score)
        with m.If(accept & last):
            m.d.sync += highest.announce()

        # of the beat, then of the row so far
        beat_highest = maximum(m, kept)
        levels = ceil_log2(c.lanes)
        keeps = Signal(c.lanes, reset_less=True)
        m.d.sync += keeps.eq(Cat(lane.keep for lane in written))
        beat_kept = delayed(m, Const(1), keeps.any(), levels, "beat_kept")  # some pair of the beat
        beat_valid = delayed(m, Const(1), accept, 1 + levels, "beat_valid", reset=True)
        beat_last = delayed(m, Const(1), last, 1 + levels, "beat_last")
        any_kept = Signal()  # some pair of the beats before it
        running = Signal(signed(INT8.width), init=INT8.min)
        so_far = Mux(beat_highest > running, beat_highest, running)
        with m.If(beat_valid):
            m.d.sync += [
                running.eq(Mux(beat_last, INT8.min, so_far)),
                any_kept.eq(~beat_last & (any_kept | beat_kept)),
            ]
            with m.If(beat_last):
                m.d.sync += highest.deliver(Cat(so_far, ~(any_kept | beat_kept)))

    def pass_1(
        self, m: Module, x_ring: Ring, highest: Handover, e_ring: Ring, total: Handover
    ) -> None:
        """Distance, exponential and sum of a row in `x_ring`; its exponentials go to `e_ring`."""
        c = self.parameters
        active, issue = Signal(name="active_1"), Signal(name="issue_1")
        last = position(m, "pass_1", self.config.tokens, c.lanes, issue).last
        m.d.comb += [
            issue.eq(active & e_ring.room & ~(last & total.busy)),
            highest.start.eq(highest.ready & (~active | (e_ring.room & last & ~total.busy))),
            x_ring.advance.eq(1),
            x_ring.read.eq(issue),
            e_ring.reserve.eq(issue),
        ]
        with m.If(issue & last):
            m.d.sync += [active.eq(0), total.announce()]
        with m.If(highest.start):
            m.d.sync += active.eq(1)

        # The lookup begins with the read; from here on nothing stalls: the place in e_ring is
        # reserved
        lookup = self.lookup(m, x_ring, highest, Const(1))
        e = [lookup.entry[n] for n in range(c.lanes)]
        valids, lasts = Signal(c.sum_latency - 1), Signal(c.sum_latency - 1)
        m.d.sync += [valids.eq(Cat(issue, valids)), lasts.eq(Cat(last, lasts))]
        m.d.comb += [e_ring.write.eq(valids[lookup.latency]), e_ring.write_data.eq(lookup.entry)]

        beat_sum = adder_tree(m, e, "e")
        partial, so_far = Signal(c.sum_width), Signal(c.sum_width)
        m.d.comb += so_far.eq(partial + beat_sum)
        with m.If(valids[-1]):
            m.d.sync += partial.eq(Mux(lasts[-1], 0, so_far))
            with m.If(lasts[-1]):
                m.d.sync += total.deliver(so_far)

    def pass_2(self, m: Module, ring: Ring, before: Handover, codes_of) -> None:
        """The codes of a row in `ring`, and its reciprocal. Moves only where the output does.

        codes_of(m, ring, before, advance) -> the codes of the beat that was read code_latency steps
        of `advance` before; before: what must be known of the row.
        """
        c = self.parameters
        stages = 1 + c.code_latency  # the read of the ring, then the codes
        read = stream.Signature(1).create()  # pipeline() joins handshakes; there is no payload
        advance = pipeline(m, read, self.o, stages)
        active, issue = Signal(name="active_2"), Signal(name="issue_2")
        _, last, left = position(m, "pass_2", self.config.tokens, c.lanes, issue)
        recent = Signal(c.min_beats - 1)  # rows started in the last steps
        rested = Signal(init=1)  # none was
        next_row = Signal()
        owed = Signal(range(ROWS_DEPTH + 1))  # rows started whose reciprocal has not been taken
        started, spare = Signal(), Signal()  # another may start: late, but rows start farther apart
        m.d.comb += [
            read.valid.eq(active),
            issue.eq(active & advance),
            ring.advance.eq(advance),
            ring.read.eq(issue),
            next_row.eq(before.ready & (~active | last) & spare & rested),
            before.start.eq(advance & next_row),
        ]
        m.d.sync += [
            started.eq(before.start),
            owed.eq(counted(owed, started, self.rows.valid & self.rows.ready)),
            spare.eq(owed != ROWS_DEPTH),
        ]
        lasts, tail = Signal(stages), Signal(c.lanes)
        with m.If(issue & last):
            # the tail is the same for all rows of a layer: one register serves the whole pipeline
            m.d.sync += tail.eq(inside(left, c.lanes))
        with m.If(advance):
            m.d.sync += active.eq(next_row | (active & ~last))
            m.d.sync += lasts.eq(Cat(last, lasts))
            m.d.sync += recent.eq(Cat(next_row, recent))
            m.d.sync += rested.eq(~Cat(next_row, recent[:-1]).any())

        codes = codes_of(m, ring, before, advance)
        mode = self.config.mode
        m.d.comb += self.o.payload.last.eq(lasts[-1])
        m.submodules.reciprocal = reciprocal = RowReciprocal(c.lanes, c.built, c.max_tokens)
        for n in range(c.lanes):
            code = Signal(c.code_bits, name=f"code_{n}", reset_less=True)
            m.d.sync += code.eq(codes[n])
            m.d.comb += [
                self.o.payload.data[n].eq(Mux(lasts[-1] & ~tail[n], 0, codes[n])),
                # lanes beyond the row have the code of 0: they count nothing
                reciprocal.value[n].eq(value_of(m, code, mode, c.built, f"lane{n}")),
            ]
        m.d.sync += [
            reciprocal.step.eq(self.o.valid & self.o.ready),
            reciprocal.last.eq(lasts[-1]),
        ]
        uniform8 = is_mode(mode, UNIFORM8) & (UNIFORM8 in c.built)
        queued = self.rows.payload.as_value()
        m.submodules.queue = queue = SyncFIFO(width=len(queued), depth=ROWS_DEPTH)
        m.d.comb += [
            reciprocal.lis4.eq(is_mode(mode, LIS4)),
            reciprocal.unit.eq(~self.config.row_norm | uniform8),
            queue.w_data.eq(Cat(reciprocal.reciprocal, reciprocal.shift)),
            queue.w_en.eq(reciprocal.valid),
            queued.eq(queue.r_data),
            self.rows.valid.eq(there(m, queue)),
            queue.r_en.eq(self.rows.ready),
        ]

    def codes_of_scores(self, m: Module, ring: Ring, highest: Handover, advance) -> list[Value]:
        """Modes of the row's maximum alone: what the table says."""
        codes = self.lookup(m, ring, highest, advance).entry
        return [codes[n] for n in range(self.parameters.lanes)]

    def codes_of_exponentials(self, m: Module, ring: Ring, total: Handover, advance) -> list[Value]:
        """Modes of the row's sum; the code of a mode of the maximum comes in place of e."""
        c, mode = self.parameters, self.config.mode
        row_sum = Signal.like(total.value)
        with m.If(total.start):
            # a row masked everywhere: all e are 0, and 0 / 1 gives the codes wanted
            m.d.sync += row_sum.eq(Mux(total.value == 0, 1, total.value))
        m.submodules.code = code = AttentionCode(c.lanes, c.sum_width, UNIFORM8 in c.built)
        m.d.comb += [
            code.advance.eq(advance),
            code.mode.eq(is_mode(mode, UNIFORM8)),
            code.e.eq(ring.read_data),
            code.sum.eq(row_sum),
        ]
        maxima = [codes for codes in c.built if codes.of_maximum]
        if not maxima:
            return [code.code[n] for n in range(c.lanes)]
        e = data.View(c.e, ring.read_data)
        looked_up = packed((e[n][: c.code_bits] for n in range(c.lanes)), c.code_bits)
        for n in range(c.code_latency):
            later = Signal.like(looked_up, name=f"looked_up_{n}", reset_less=True)
            with m.If(advance):
                m.d.sync += later.eq(looked_up)
            looked_up = later
        of_maximum = Cat(is_mode(mode, codes) for codes in maxima).any()
        return [
            Mux(of_maximum, looked_up.word_select(n, c.code_bits), code.code[n])
            for n in range(c.lanes)
        ]


def maximum(m: Module, values: list[Value]) -> Value:
    """The greatest of signed values, ceil_log2(len(values)) cycles later: a tree of registers."""
    while len(values) > 1:
        nodes = []
        for n in range(0, len(values), 2):
            a, b = values[n], values[min(n + 1, len(values) - 1)]
            node = Signal(signed(INT8.width), name="greater", reset_less=True)
            m.d.sync += node.eq(Mux(a > b, a, b))
            nodes.append(node)
        values = nodes
    return values[0]
