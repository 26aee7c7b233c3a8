"""Log-Int-Softmax: rows of int8 scores become 4-bit logarithmic (or uniform 8-bit) attention codes.

Arithmetic: `fqvit_hw.units.softmax`, docs/datapath.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import CODE, EXPONENTIAL, INT8, MAX_TOKENS, RECIPROCAL, UINT8, ceil_log2

from ..parts.checks import check_fields
from ..parts.pipeline import pipeline
from ..parts.position import inside, position
from ..parts.row_reciprocal import RowReciprocal
from ..parts.row_ring import Handover, Ring
from ..parts.softmax_code import AttentionCode

DISTANCE = UINT8  # m - x, 0..255: the table's address
SLACK = 8  # beats a ring must hold beyond one row: the way from its last write to its first read
ROWS_DEPTH = 8  # reciprocals that may wait, rows still in the pipeline included


@dataclass(frozen=True)
class SoftmaxConfig:
    """lanes: scores a beat; max_tokens: longest row; uniform8: build the second output mode too."""

    lanes: int
    max_tokens: int
    uniform8: bool = False

    def __post_init__(self):
        check_fields(self)
        if self.max_tokens > MAX_TOKENS:
            raise ValueError(
                f"SoftmaxConfig.max_tokens: expected 1..{MAX_TOKENS}, got {self.max_tokens}"
            )

    def beats(self, tokens: int) -> int:
        return -(-tokens // self.lanes)

    @property
    def code_latency(self) -> int:
        """From e to its code."""
        return AttentionCode.latency_of(self.uniform8)

    def latency(self, tokens: int) -> int:
        """From the handshake of a row's last beat to its first output beat, no row in the way.

        2 to the maximum, 1 to start pass 1, its beats, 5 to the sum, 1 to start pass 2, 1 to read.
        """
        return 10 + self.beats(tokens) + self.code_latency

    @property
    def rows_latency(self) -> int:
        """From the handshake of a row's last output beat to its reciprocal in `rows`."""
        return RowReciprocal.latency + 1  # a register for the queue after the recurrence

    @property
    def min_beats(self) -> int:
        """Shorter rows take as long: the cycles of the recurrence. Pass 1 alone would do with 7."""
        return RowReciprocal.interval

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
        """mode: 0 lis4, 1 uniform8 (only where built); row_norm: reciprocals other than 1.0."""
        return data.StructLayout(
            {"tokens": unsigned(self.max_tokens.bit_length()), "mode": 1, "row_norm": 1}
        )

    @property
    def table(self) -> data.StructLayout:
        return data.StructLayout({"addr": DISTANCE.width, "data": EXPONENTIAL.width})

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
        code = UINT8 if self.uniform8 else CODE
        return data.StructLayout({"data": data.ArrayLayout(code.width, self.lanes), "last": 1})

    @property
    def rows(self) -> data.StructLayout:
        return data.StructLayout({"reciprocal": unsigned(RECIPROCAL.width)})

    @property
    def x(self) -> data.ArrayLayout:
        """A beat between load and pass 1."""
        return data.ArrayLayout(data.StructLayout({"x": signed(INT8.width), "keep": 1}), self.lanes)

    @property
    def e(self) -> data.ArrayLayout:
        """A beat between pass 1 and pass 2; 0 where the pair is left out."""
        return data.ArrayLayout(EXPONENTIAL.width, self.lanes)


class Softmax(wiring.Component):
    """Row maximum, exponentials and their sum, codes; the reciprocal of the row of codes.

    Three stages work on three rows: load (running maximum), pass 1 (table and sum), pass 2 (codes);
    a ring buffer lies between each and the next.

    Parameters
    ----------
    parameters : SoftmaxConfig
        lanes, longest row, output modes

    Members
    -------
    config : In, SoftmaxConfig.layer
        tokens (1..max_tokens), mode, row_norm
    table : In, stream of {addr, data}
        writes of E[d], always taken
    i : In, stream of {data, mask}
        int8 scores x lanes; mask 1: the pair is left out
    o : Out, stream of {data, last}
        codes, uint4 x lanes (uint8 where uniform8 is built)
    rows : Out, stream of {reciprocal}
        one beat a row: floor(2^29 / W), or 2^15 for 1.0 where row_norm is 0 or the mode uniform8
    error : Out, 1
        sticky until reset: a row was masked everywhere

    Latency
    -------
    latency(tokens) cycles from the handshake of a row's last beat to its first output beat;
    rows_latency from that of its last output beat to its reciprocal.

    Throughput
    ----------
    cycles_per_row(tokens): `lanes` scores a cycle without bubbles for rows of at least 9 beats;
    shorter rows take 9 cycles each.

    Back-pressure
    -------------
    Each stage waits for room in the ring after it. Reciprocals wait in a queue: while ROWS_DEPTH
    rows are under way in pass 2 or waiting there, no further row starts it.

    Errors
    ------
    Of a row masked everywhere the codes are 15 (uniform8: 0) and the reciprocal is 2^15.
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
        m.submodules.e_ring = e_ring = Ring(c.e.size, c.depth)
        highest = Handover(m, signed(INT8.width), "highest")
        total = Handover(m, c.sum_width, "total")
        self.load(m, x_ring, highest)
        self.pass_1(m, x_ring, highest, e_ring, total)
        self.pass_2(m, e_ring, total)
        return m

    def load(self, m: Module, x_ring: Ring, highest: Handover) -> None:
        """Write the row into `x_ring` and find its maximum."""
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
            kept.append(Mux(lane.keep, lane.x, INT8.min))
        with m.If(accept & last):
            m.d.sync += highest.announce()

        beat_highest, beat_valid, beat_last = Signal(signed(INT8.width)), Signal(), Signal()
        m.d.sync += [
            beat_highest.eq(maximum(m, kept)),
            beat_valid.eq(accept),
            beat_last.eq(last),
        ]
        running = Signal(signed(INT8.width), init=INT8.min)
        so_far = maximum(m, [running, beat_highest])
        with m.If(beat_valid):
            m.d.sync += running.eq(Mux(beat_last, INT8.min, so_far))
            with m.If(beat_last):
                m.d.sync += highest.deliver(so_far)

    def pass_1(
        self, m: Module, x_ring: Ring, highest: Handover, e_ring: Ring, total: Handover
    ) -> None:
        """Distance, exponential and sum of a row in `x_ring`; its exponentials go to `e_ring`."""
        c = self.parameters
        active, issue = Signal(name="active_1"), Signal(name="issue_1")
        last = position(m, "pass_1", self.config.tokens, c.lanes, issue).last
        m.d.comb += [
            issue.eq(active & e_ring.room & ~(last & total.busy)),
            highest.start.eq(highest.ready & (~active | (issue & last))),
            x_ring.read.eq(issue),
            e_ring.reserve.eq(issue),
        ]
        with m.If(issue & last):
            m.d.sync += [active.eq(0), total.announce()]
        row_highest, beat_row_highest = Signal.like(highest.value), Signal.like(highest.value)
        with m.If(highest.start):
            m.d.sync += [active.eq(1), row_highest.eq(highest.value)]

        # 1: score read, 2: distance, 3: table read, 4: e, 5: sum of the beat. From here on nothing
        # stalls: the place in e_ring is reserved
        valid, lasts = Signal(5), Signal(5)
        score = data.View(c.x, x_ring.read_data)
        keep_2, keep_3 = Signal(c.lanes), Signal(c.lanes)
        e = Signal(c.e)
        m.d.sync += [
            valid.eq(Cat(issue, valid)),
            lasts.eq(Cat(last, lasts)),
            beat_row_highest.eq(row_highest),
            keep_2.eq(Cat(lane.keep for lane in score)),
            keep_3.eq(keep_2),
        ]
        m.d.comb += self.table.ready.eq(1)
        for n, lane in enumerate(score):
            # a table for each lane: a block RAM has one read port of this width beside the write
            table = memory.Memory(shape=unsigned(EXPONENTIAL.width), depth=256, init=[])
            m.submodules[f"table{n}"] = table
            write, read = table.write_port(), table.read_port()
            distance = Signal(DISTANCE.width, name=f"distance_{n}", reset_less=True)
            m.d.sync += [
                distance.eq(beat_row_highest - lane.x),  # arbitrary where the pair is left out
                e[n].eq(Mux(keep_3[n], read.data, 0)),
            ]
            m.d.comb += [
                read.addr.eq(distance),
                write.en.eq(self.table.valid),
                write.addr.eq(self.table.payload.addr),
                write.data.eq(self.table.payload.data),
            ]
        m.d.comb += [e_ring.write.eq(valid[3]), e_ring.write_data.eq(e)]

        beat_sum = Signal(c.sum_width)
        partial, so_far = Signal(c.sum_width), Signal(c.sum_width)
        m.d.comb += so_far.eq(partial + beat_sum)
        m.d.sync += beat_sum.eq(sum(e))
        with m.If(valid[4]):
            m.d.sync += partial.eq(Mux(lasts[4], 0, so_far))
            with m.If(lasts[4]):
                m.d.sync += total.deliver(so_far)

    def pass_2(self, m: Module, e_ring: Ring, total: Handover) -> None:
        """The codes of a row in `e_ring`, and its reciprocal. Moves only where the output does."""
        c = self.parameters
        stages = 1 + c.code_latency  # the read of e_ring, then the codes
        read = stream.Signature(1).create()  # pipeline() joins handshakes; there is no payload
        advance = pipeline(m, read, self.o, stages)
        active, issue = Signal(name="active_2"), Signal(name="issue_2")
        _, last, left = position(m, "pass_2", self.config.tokens, c.lanes, issue)
        pause = Signal(range(c.min_beats))  # cycles until the next row may start
        owed = Signal(range(ROWS_DEPTH + 1))  # rows started whose reciprocal has not been taken
        m.d.comb += [
            read.valid.eq(active),
            issue.eq(active & advance),
            e_ring.read.eq(issue),
            total.start.eq(
                advance & total.ready & (~active | last) & (pause == 0) & (owed != ROWS_DEPTH)
            ),
        ]
        m.d.sync += owed.eq(owed + total.start - (self.rows.valid & self.rows.ready))
        row_sum = Signal.like(total.value)
        lasts, tail = Signal(stages), Signal(c.lanes)
        with m.If(issue & last):
            # the tail is the same for all rows of a layer: one register serves the whole pipeline
            m.d.sync += [active.eq(0), tail.eq(inside(left, c.lanes))]
        with m.If(advance):
            m.d.sync += lasts.eq(Cat(last, lasts))
            with m.If(pause != 0):
                m.d.sync += pause.eq(pause - 1)
        with m.If(total.start):
            m.d.sync += [
                active.eq(1),
                pause.eq(c.min_beats - 1),
                # a row masked everywhere: all e are 0, and 0 / 1 gives the codes wanted
                row_sum.eq(Mux(total.value == 0, 1, total.value)),
                self.error.eq(self.error | (total.value == 0)),
            ]

        uniform8 = self.config.mode & c.uniform8
        m.submodules.code = code = AttentionCode(c.lanes, c.sum_width, c.uniform8)
        m.d.comb += [
            code.advance.eq(advance),
            code.mode.eq(uniform8),
            code.e.eq(e_ring.read_data),
            code.sum.eq(row_sum),
        ]
        m.d.comb += self.o.payload.last.eq(lasts[-1])
        for n in range(c.lanes):
            m.d.comb += self.o.payload.data[n].eq(Mux(lasts[-1] & ~tail[n], 0, code.code[n]))

        # tail lanes have e = 0 and with it code 15: they count nothing
        m.submodules.reciprocal = reciprocal = RowReciprocal(c.lanes)
        m.submodules.queue = queue = SyncFIFO(width=RECIPROCAL.width, depth=ROWS_DEPTH)
        m.d.comb += [
            reciprocal.code.eq(code.log_code),
            reciprocal.step.eq(self.o.valid & self.o.ready),
            reciprocal.last.eq(lasts[-1]),
            reciprocal.unit.eq(~self.config.row_norm | uniform8),
            queue.w_data.eq(reciprocal.reciprocal),
            queue.w_en.eq(reciprocal.valid),
            self.rows.payload.reciprocal.eq(queue.r_data),
            self.rows.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.rows.ready),
        ]


def maximum(m: Module, values: list[Value]) -> Value:
    """The greatest of signed values, as a tree; a signal for each node keeps the Verilog short."""
    while len(values) > 1:
        nodes = []
        for a, b in zip(values[::2], values[1::2], strict=False):
            node = Signal(signed(INT8.width), name="greater")
            m.d.comb += node.eq(Mux(a > b, a, b))
            nodes.append(node)
        values = nodes + values[len(nodes) * 2 :]
    return values[0]
