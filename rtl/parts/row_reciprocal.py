"""The reciprocal of a row of attention codes, for row normalization."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.attention_codes import LIS4, AttentionCodes
from fqvit_hw.formats import RECIPROCAL, ROW_SHIFT, UNIT_ROW, ceil_log2

from .code_values import value_bits


def row_sum_bits(modes: Sequence[AttentionCodes], max_tokens: int) -> int:
    """Of the largest sum of values of a row: of any row in the modes of the maximum, of a row that
    is normalized in lis4."""
    sums = [
        codes.row_sum.width if codes is LIS4 else (max_tokens * max(codes.values)).bit_length()
        for codes in modes
        if codes.row_sum
    ]
    return max(sums, default=1)


class RowReciprocal(wiring.Component):
    """floor(2^(L + 15) / W) and L + 1, W the sum of a row's values and L its length in bits.

    A digit recurrence, 2 bits a cycle, with W shifted up to its full width.

    Parameters
    ----------
    lanes : int
        values a beat
    modes : sequence of AttentionCodes
        that are built
    max_tokens : int
        of a row

    Members
    -------
    value : In, unsigned x lanes
        counted in the cycles in which `step` is 1
    step : In, 1
        a beat of values is there
    last : In, 1
        it is the row's last one
    lis4 : In, 1
        with the last beat: L is 14
    unit : In, 1
        with the last beat: the answer is 2^15 and 15 (1.0); so it is for W = 0
    reciprocal : Out, uint17
        of the row, while `valid`
    shift : Out, uint5
        the same
    valid : Out, 1
        for one cycle

    Latency
    -------
    11, from a row's last beat to `valid`: the beat's sum, the row's, 9 cycles of the recurrence.

    Throughput
    ----------
    A beat every cycle; rows of fewer than `interval` = 9 cycles are too fast for the recurrence.

    Back-pressure
    -------------
    None, on either side.
    """

    digits = 18  # quotient bits: 9 cycles of two; the quotient is at most 2^16, so that bit 17 is 0
    interval = digits // 2
    latency = 2 + interval  # the beat's sum, the row's, the cycles of the recurrence

    def __init__(self, lanes: int, modes: Sequence[AttentionCodes], max_tokens: int):
        self.modes, self.width = modes, row_sum_bits(modes, max_tokens)
        super().__init__(
            {
                "value": In(data.ArrayLayout(value_bits(modes), lanes)),
                "step": In(1),
                "last": In(1),
                "lis4": In(1),
                "unit": In(1),
                "reciprocal": Out(RECIPROCAL.width),
                "shift": Out(ROW_SHIFT.width),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = self.width
        beat_sum = Signal(width)
        beat_valid, beat_last = Signal(), Signal()
        m.d.sync += [
            beat_valid.eq(self.step),
            beat_last.eq(self.last),
            beat_sum.eq(sum(self.value)),
        ]
        partial, row_sum, row_valid = Signal(width), Signal(width), Signal()
        total = Signal(width)
        m.d.comb += total.eq(partial + beat_sum)
        with m.If(beat_valid):
            m.d.sync += partial.eq(Mux(beat_last, 0, total))
        m.d.sync += [row_sum.eq(total), row_valid.eq(beat_valid & beat_last)]

        # W with its leading one on top, so that 2^(L + 15) / W = 2^(width + 15) / divisor
        normalized, zeros = shifted_up(m, row_sum)
        L = Signal(ROW_SHIFT.width)
        start = 1 << width + UNIT_ROW[1] - self.digits  # 2^(width + 15) without its last digits
        m.d.comb += L.eq(width - zeros)
        if LIS4 in self.modes:  # whose W keeps its place: 2^29 / W = 2^(width + 14) / divisor
            up = width - LIS4.row_sum.width
            normalized = Mux(self.lis4, row_sum << up, normalized)
            start = Mux(self.lis4, start >> 1, start)
            L = Mux(self.lis4, LIS4.row_sum.width - 1, L)

        divisor, remainder = Signal(width), Signal(width)
        quotient, unit, shift = Signal(self.digits), Signal(), Signal(ROW_SHIFT.width)
        left = Signal(range(self.interval + 1))  # cycles of the recurrence to go
        first, second = Signal(width + 1), Signal(width + 1)
        m.d.comb += [
            first.eq(remainder << 1),
            second.eq(Mux(first >= divisor, first - divisor, first) << 1),
        ]
        digits = Cat(second >= divisor, first >= divisor)
        with m.If(left != 0):
            m.d.sync += [
                left.eq(left - 1),
                remainder.eq(Mux(second >= divisor, second - divisor, second)),
                quotient.eq(Cat(digits, quotient)),
            ]
        with m.If(row_valid):
            m.d.sync += [
                left.eq(self.interval),
                divisor.eq(normalized),
                remainder.eq(start),
                shift.eq(L + 1),
                unit.eq(self.unit | (row_sum == 0)),
            ]
        m.d.comb += [
            self.valid.eq(left == 1),
            self.reciprocal.eq(Mux(unit, UNIT_ROW[0], Cat(digits, quotient))),
            self.shift.eq(Mux(unit, UNIT_ROW[1], shift)),
        ]
        return m


def shifted_up(m: Module, value: Value) -> tuple[Value, Value]:
    """`value`, not 0, with its leading one on top, and how many zeros stood there."""
    zeros: list[Value] = []
    for bit in reversed(range(ceil_log2(len(value)))):
        step = 1 << bit
        none = Signal(name=f"none_of_{step}")
        next_ = Signal(len(value), name=f"up_{step}")
        m.d.comb += [
            none.eq(value[-step:] == 0),
            next_.eq(Mux(none, Cat(Const(0, step), value), value)),
        ]
        value, zeros = next_, [none, *zeros]
    return value, Cat(*zeros)
