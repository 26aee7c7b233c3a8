"""The reciprocal of a row of attention codes, for row normalization."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import (
    BITSHIFT_FRACTION,
    CODE,
    RECIPROCAL,
    RECIPROCAL_FRACTION,
    ROW_NORM_SHIFT,
    ROW_SUM,
    ZERO_CODE,
)


class RowReciprocal(wiring.Component):
    """floor(2^29 / W), W = sum of 2^(14 - code) over the codes of a row that are not 15.

    A digit recurrence, 2 bits a cycle.

    Parameters
    ----------
    lanes : int
        codes a beat

    Members
    -------
    code : In, uint4 x lanes
        counted in the cycles in which `step` is 1
    step : In, 1
        a beat of codes is there
    last : In, 1
        it is the row's last one
    unit : In, 1
        with the last beat: the answer is 2^15 (1.0); so it is for W = 0
    reciprocal : Out, uint17
        of the row, while `valid`
    valid : Out, 1
        for one cycle

    Latency
    -------
    10, from a row's last beat to `valid`: the beat's sum, then the 9 cycles of the recurrence.

    Throughput
    ----------
    A beat every cycle; rows of fewer than `interval` = 9 cycles are too fast for the recurrence.

    Back-pressure
    -------------
    None, on either side.
    """

    digits = 18  # quotient bits: 9 cycles of two; floor(2^29 / W) <= 2^16, so that bit 17 is 0
    interval = digits // 2
    latency = 1 + interval  # the beat's sum, then the cycles of the recurrence

    def __init__(self, lanes: int):
        self.lanes = lanes
        super().__init__(
            {
                "code": In(data.ArrayLayout(CODE.width, lanes)),
                "step": In(1),
                "last": In(1),
                "unit": In(1),
                "reciprocal": Out(RECIPROCAL.width),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beat_sum = Signal(ROW_SUM.width)
        beat_valid, beat_last = Signal(), Signal()
        one = Const(1 << BITSHIFT_FRACTION, ROW_SUM.width)
        weights = [Mux(c == ZERO_CODE, 0, one >> c) for c in self.code]
        m.d.sync += [
            beat_valid.eq(self.step),
            beat_last.eq(self.last),
            beat_sum.eq(sum(weights)),
        ]

        partial, total = Signal(ROW_SUM.width), Signal(ROW_SUM.width)
        m.d.comb += total.eq(partial + beat_sum)
        with m.If(beat_valid):
            m.d.sync += partial.eq(Mux(beat_last, 0, total))

        divisor, remainder = Signal(ROW_SUM.width), Signal(ROW_SUM.width)
        quotient, unit = Signal(self.digits), Signal()
        left = Signal(range(self.interval + 1))  # cycles of the recurrence to go
        first = Signal(ROW_SUM.width + 1)
        second = Signal(ROW_SUM.width + 1)
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
        with m.If(beat_valid & beat_last):
            m.d.sync += [
                left.eq(self.interval),
                divisor.eq(total),
                # 2^29 without its last 18 bits: 2^11 < W, the remaining bits are zeros
                remainder.eq(1 << (RECIPROCAL_FRACTION - self.digits)),
                unit.eq(self.unit | (total == 0)),
            ]
        m.d.comb += [
            self.valid.eq(left == 1),
            self.reciprocal.eq(Mux(unit, 1 << ROW_NORM_SHIFT, Cat(digits, quotient))),
        ]
        return m
