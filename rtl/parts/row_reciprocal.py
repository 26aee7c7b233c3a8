"""The reciprocal of a row of attention codes, for row normalization."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.attention_codes import LIS4, AttentionCodes
from fqvit_hw.formats import RECIPROCAL, ROW_SHIFT, UNIT_ROW

from .adder_tree import adder_tree, tree_latency
from .code_values import value_bits
from .division import radix_4
from .pipeline import delayed
from .shifter import shifted_up


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

    A digit recurrence, 2 bits a cycle, with W shifted up to its full width. Rows come so far apart
    that what is between the row's sum and the recurrence settles in registers without valid bits.

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
        L is 14; holds still from a row's first beat to its `valid`, as the next
    unit : In, 1
        the answer is 2^15 and 15 (1.0); so it is for W = 0
    reciprocal : Out, uint17
        of the row, while `valid`
    shift : Out, uint5
        the same
    valid : Out, 1
        for one cycle

    Latency
    -------
    `latency`, from a row's last beat to `valid`: the values, the beat's sum, the row's, shifted up
    step by step, 9 cycles of the recurrence, one for the result.

    Throughput
    ----------
    A beat every cycle; rows of fewer than `interval` = 9 cycles are too fast for the recurrence.

    Back-pressure
    -------------
    None, on either side.
    """

    digits = 18  # quotient bits: 9 cycles of two; the quotient is at most 2^16, so that bit 17 is 0
    interval = digits // 2
    settling = ROW_SHIFT.width  # cycles until the widest sum is shifted up

    def __init__(self, lanes: int, modes: Sequence[AttentionCodes], max_tokens: int):
        self.modes, self.width = modes, row_sum_bits(modes, max_tokens)
        self.latency = self.latency_of(lanes)
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

    @classmethod
    def latency_of(cls, lanes: int) -> int:
        return 1 + tree_latency(lanes) + 1 + cls.settling + 1 + cls.interval + 1

    def elaborate(self, platform):
        m = Module()
        width = self.width
        value = Signal.like(self.value, reset_less=True)
        m.d.sync += value.eq(self.value)
        beat_sum = adder_tree(m, [value[n] for n in range(len(value))], "value")
        delays = 1 + tree_latency(len(value))
        beat_valid = delayed(m, Const(1), self.step, delays, "beat_valid", reset=True)
        beat_last = delayed(m, Const(1), self.last, delays, "beat_last")
        partial, row_sum, row_valid = Signal(width), Signal(width), Signal()
        total = Signal(width)
        m.d.comb += total.eq(partial + beat_sum)
        with m.If(beat_valid):
            m.d.sync += partial.eq(Mux(beat_last, 0, total))
            with m.If(beat_last):
                m.d.sync += row_sum.eq(total)
        m.d.sync += row_valid.eq(beat_valid & beat_last)

        # W with its leading one on top, so that 2^(L + 15) / W = 2^(width + 15) / divisor
        normalized, zeros = shifted_up(m, row_sum)
        ready = delayed(m, Const(1), row_valid, self.settling, "normalized", reset=True)
        L = Signal(ROW_SHIFT.width)
        begin = 1 << width + UNIT_ROW[1] - self.digits  # 2^(width + 15) without its last digits
        m.d.comb += L.eq(width - zeros)
        if LIS4 in self.modes:  # whose W keeps its place: 2^29 / W = 2^(width + 14) / divisor
            up = width - LIS4.row_sum.width
            normalized = Mux(self.lis4, row_sum << up, normalized)
            begin = Mux(self.lis4, begin >> 1, begin)
            L = Mux(self.lis4, LIS4.row_sum.width - 1, L)
        settled, start, unit = Signal(width), Signal(), Signal()
        shift = Signal(ROW_SHIFT.width)
        m.d.sync += start.eq(ready)
        with m.If(ready):
            m.d.sync += [
                settled.eq(normalized),
                shift.eq(L + 1),
                unit.eq(self.unit | (row_sum == 0)),
            ]

        # the recurrence; the next row may be `ready` before its end
        divisor, triple = Signal(width, reset_less=True), Signal(width + 2, reset_less=True)
        remainder = Signal(width, reset_less=True)
        quotient = Signal(self.digits, reset_less=True)
        left = Signal(range(self.interval + 1))  # cycles to go
        multiples = (divisor, Cat(Const(0, 1), divisor), triple)
        digit = radix_4(m, Cat(Const(0, 2), remainder), multiples, width, "quotient")
        ended_unit, ended_shift = Signal(), Signal(ROW_SHIFT.width)
        m.d.sync += self.valid.eq(left == 1)
        with m.If(left != 0):
            m.d.sync += [
                left.eq(left - 1),
                remainder.eq(digit.rest),
                quotient.eq(Cat(digit.bits, quotient)),
            ]
        with m.If(left == self.interval):  # the row before is `valid` no more
            m.d.sync += [ended_unit.eq(unit), ended_shift.eq(shift)]
        with m.If(start):
            m.d.sync += [
                left.eq(self.interval),
                remainder.eq(begin),
                divisor.eq(settled),
                triple.eq(settled + (settled << 1)),
            ]
        m.d.comb += [
            self.reciprocal.eq(Mux(ended_unit, UNIT_ROW[0], quotient)),
            self.shift.eq(Mux(ended_unit, UNIT_ROW[1], ended_shift)),
        ]
        return m
