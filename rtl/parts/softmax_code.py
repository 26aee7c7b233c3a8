"""The arithmetic behind the softmax's sum: attention codes from the exponentials e and their sum S.

Nothing here divides or multiplies: leading ones, shifts, additions and comparisons do.
"""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import CODE, EXPONENTIAL, UINT8, ZERO_CODE, ceil_log2


def leading_one(x: Value) -> Value:
    """Index of the highest bit of `x` that is 1, max(ceil_log2(len(x)), 1) bits; 0 for x = 0."""
    if len(x) == 1:
        return Const(0, 1)
    half = 1 << (ceil_log2(len(x)) - 1)
    upper = x[half:].any()
    if half == 1:
        return upper
    return Cat(Mux(upper, leading_one(x[half:]), leading_one(x[:half])), upper)


class Log2Code(wiring.Component):
    """code = 0 if 2S < 3e, else 1 + max{c : 2S + e >= 3e << c} (strict for c = 1), at most 15.

    With c = floor(log2(S / e)) the code is c, or c + 1 if S / e has passed the half-way mark, that
    is if 2S + e >= 3e << c: of all the comparisons in the formula only this one is in doubt, since
    3e << (c-1) <= 1.5 S and 3e << (c+1) > 3 S >= 2S + e. (The marks of c = 0 and c = 1 differ a
    little: 2S >= 3e and 2S + e > 6e.) The leading ones of S and e give c, or c + 1 where the
    mantissa of e is the larger: k = lead(S) - lead(e), c = k - (e << k > S).

    Parameters
    ----------
    lanes : int
        exponentials a beat
    sum_width : int
        bits of their sum

    Members
    -------
    advance : In, 1
        all registers move in the cycles in which it is 1
    e : In, uint24 x lanes
        exponentials; e = 0 gives 15
    sum : In, sum_width
        S > 0 of their row
    lead : In, unsigned
        leading_one(sum)
    code : Out, uint4 x lanes
        attention codes

    Latency
    -------
    7 registers from `e` to `code`.

    Throughput
    ----------
    A beat in every cycle with `advance`.

    Back-pressure
    -------------
    `advance`.
    """

    latency = 7

    def __init__(self, lanes: int, sum_width: int):
        self.lanes, self.sum_width = lanes, sum_width
        super().__init__(
            {
                "advance": In(1),
                "e": In(data.ArrayLayout(EXPONENTIAL.width, lanes)),
                "sum": In(sum_width),
                "lead": In(ceil_log2(sum_width)),
                "code": Out(data.ArrayLayout(CODE.width, lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = self.sum_width
        sums = [self.sum, *(Signal(width, name=f"sum{n}", reset_less=True) for n in range(1, 5))]
        lead = Signal.like(self.lead, name="lead1", reset_less=True)
        with m.If(self.advance):
            m.d.sync += [later.eq(earlier) for earlier, later in pairwise(sums)]
            m.d.sync += lead.eq(self.lead)
        for n in range(self.lanes):
            self.lane(m, n, sums, lead)
        return m

    def lane(self, m: Module, n: int, sums: list[Signal], lead: Signal) -> None:
        """A register's number is its stage."""
        width = self.sum_width

        def register(name: str, bits: int) -> Signal:
            return Signal(bits, name=f"{name}_{n}", reset_less=True)

        # 1: the leading one of e
        e, e1, none1 = self.e[n], register("e1", EXPONENTIAL.width), register("none1", 1)
        lead1 = register("lead1", ceil_log2(EXPONENTIAL.width))
        # 2: k, clipped to 15; `far` where the code is 15 without looking further
        k = Signal(range(width), name=f"k_{n}")  # lead(S) >= lead(e) since S >= e
        m.d.comb += k.eq(lead - lead1)
        e2, k2, far2 = register("e2", len(e)), register("k2", CODE.width), register("far2", 1)
        # 3: align e with S. Both have their leading one in the same place: width bits hold it
        aligned3, e3 = register("aligned3", width), register("e3", len(e))
        k3, far3 = register("k3", CODE.width), register("far3", 1)
        # 4: both sides of the half-way comparison. 2S + e < 2^(width+2), 3(e << k) < 2^(width+2)
        over4, left4 = register("over4", 1), register("left4", width + 2)
        right4 = register("right4", width + 2)
        k4, far4 = register("k4", CODE.width), register("far4", 1)
        # 5: c. right is 3e << k, so that for c = k - 1 the left side is doubled instead
        c = Signal(CODE.width, name=f"c_{n}")
        c5, far5, odd5 = register("c5", CODE.width), register("far5", 1), register("odd5", 1)
        left5, right5 = register("left5", width + 3), register("right5", width + 2)
        # 6: compare; 7: the code
        half6, c6, far6 = register("half6", 1), register("c6", CODE.width), register("far6", 1)
        code = Signal(CODE.width + 1, name=f"code_{n}")  # 15 + 1 saturates
        m.d.comb += [c.eq(k4 - over4), code.eq(c6 + half6)]
        with m.If(self.advance):
            m.d.sync += [
                e1.eq(e),
                lead1.eq(leading_one(e)),
                none1.eq(e == 0),
                e2.eq(e1),
                k2.eq(k),
                far2.eq(none1 | (k > ZERO_CODE)),
                aligned3.eq(e2 << k2),
                e3.eq(e2),
                k3.eq(k2),
                far3.eq(far2),
                over4.eq(exceeds(aligned3, sums[3])),
                left4.eq((sums[3] << 1) + e3),
                right4.eq(aligned3 + (aligned3 << 1)),
                k4.eq(k3),
                far4.eq(far3),
                left5.eq(Mux(c == 0, sums[4] << 1, left4) << over4),
                right5.eq(right4),
                # one more bit at the right turns > into >= where c is not 1
                odd5.eq(c != 1),
                c5.eq(c),
                far5.eq(far4),
                half6.eq(exceeds(Cat(odd5, left5), Cat(Const(0, 1), right5))),
                c6.eq(c5),
                far6.eq(far5),
                self.code[n].eq(Mux(far6 | code[CODE.width], ZERO_CODE, code)),
            ]


def exceeds(a: Value, b: Value) -> Value:
    """a > b, unsigned, by the carry of a subtraction."""
    return (b - a)[-1]


class Uniform8Code(wiring.Component):
    """p = (510 e + S) // (2 S), that is round(255 e / S): restoring division, one bit a register.

    Before bit b the remainder holds N >> (b + 1) less what was subtracted. It stays below 2S, and
    starts below: N >> 8 <= 511 S / 256 < 2S. So the quotient is exact by construction.

    Parameters
    ----------
    lanes : int
        exponentials a beat
    sum_width : int
        bits of their sum

    Members
    -------
    advance : In, 1
        all registers move in the cycles in which it is 1
    e : In, uint24 x lanes
        exponentials, e <= S
    sum : In, sum_width
        S > 0 of their row
    code : Out, uint8 x lanes
        attention probabilities

    Latency
    -------
    10 registers from `e` to `code`.

    Throughput
    ----------
    A beat in every cycle with `advance`.

    Back-pressure
    -------------
    `advance`.
    """

    latency = 2 + UINT8.width

    def __init__(self, lanes: int, sum_width: int):
        self.lanes, self.sum_width = lanes, sum_width
        super().__init__(
            {
                "advance": In(1),
                "e": In(data.ArrayLayout(EXPONENTIAL.width, lanes)),
                "sum": In(sum_width),
                "code": Out(data.ArrayLayout(UINT8.width, lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = UINT8.width
        sums = [self.sum]
        for n in range(1, self.latency):
            sums.append(Signal(self.sum_width, name=f"sum{n}", reset_less=True))
            with m.If(self.advance):
                m.d.sync += sums[n].eq(sums[n - 1])
        for n in range(self.lanes):
            scaled = Signal(EXPONENTIAL.width + 9, name=f"scaled_{n}", reset_less=True)
            # the numerator: its upper bits are the remainder, its lower 8 bits wait to be brought
            # down, and leave room from the right for the quotient
            numerator = Signal(self.sum_width + 1 + bits, name=f"numerator_{n}", reset_less=True)
            with m.If(self.advance):
                m.d.sync += [
                    scaled.eq((self.e[n] << 9) - (self.e[n] << 1)),  # 510 e
                    numerator.eq(scaled + sums[1]),  # <= 511 S < 2^(sum_width + 9)
                ]
            for step in range(bits):
                divisor = sums[2 + step] << 1
                doubled = Signal(self.sum_width + 2, name=f"doubled_{n}_{step}")  # < 4S
                enough = Signal(name=f"enough_{n}_{step}")
                m.d.comb += [
                    doubled.eq(numerator[bits - 1 :]),
                    enough.eq(doubled >= divisor),
                ]
                rest = Signal(len(numerator), name=f"rest_{n}_{step}", reset_less=True)
                remainder = Mux(enough, doubled - divisor, doubled)[: self.sum_width + 1]
                with m.If(self.advance):
                    m.d.sync += rest.eq(Cat(enough, numerator[: bits - 1], remainder))
                numerator = rest
            m.d.comb += self.code[n].eq(numerator[:bits])
        return m


class AttentionCode(wiring.Component):
    """Codes of both modes of the row's sum, or of lis4 alone; finds the sum's leading one.

    Parameters
    ----------
    lanes : int
        exponentials a beat
    sum_width : int
        bits of their sum
    uniform8 : bool
        build the second mode too

    Members
    -------
    advance : In, 1
        all registers move in the cycles in which it is 1
    mode : In, 1
        1 for uniform8, where it is built
    e : In, uint24 x lanes
        exponentials
    sum : In, sum_width
        their sum: comes one step of `advance` before its first `e` and stays until that of the last
        one
    code : Out, uint4 or uint8 x lanes
        8 bits wide where uniform8 is built

    Latency
    -------
    `latency` registers from `e`: both modes take the longer time, 7 or 10.

    Throughput
    ----------
    A beat in every cycle with `advance`.

    Back-pressure
    -------------
    `advance`.
    """

    def __init__(self, lanes: int, sum_width: int, uniform8: bool):
        self.lanes, self.sum_width, self.uniform8 = lanes, sum_width, uniform8
        self.latency = self.latency_of(uniform8)
        super().__init__(
            {
                "advance": In(1),
                "mode": In(1),
                "e": In(data.ArrayLayout(EXPONENTIAL.width, lanes)),
                "sum": In(sum_width),
                "code": Out(data.ArrayLayout((UINT8 if uniform8 else CODE).width, lanes)),
            }
        )

    @staticmethod
    def latency_of(uniform8: bool) -> int:
        """Both modes take the longer time."""
        return (Uniform8Code if uniform8 else Log2Code).latency

    def elaborate(self, platform):
        m = Module()
        beat_sum, lead = Signal(self.sum_width), Signal(range(self.sum_width))
        with m.If(self.advance):
            m.d.sync += [beat_sum.eq(self.sum), lead.eq(leading_one(self.sum))]

        def connect(unit):
            m.d.comb += [unit.advance.eq(self.advance), unit.e.eq(self.e), unit.sum.eq(beat_sum)]
            return unit.code

        m.submodules.log2 = log2 = Log2Code(self.lanes, self.sum_width)
        m.d.comb += log2.lead.eq(lead)
        log_code = connect(log2)
        for n in range(log2.latency, self.latency):  # wait for the other mode
            later = Signal(log_code.shape(), reset_less=True, name=f"log_code_{n}")
            with m.If(self.advance):
                m.d.sync += later.eq(log_code)
            log_code = later
        if not self.uniform8:
            m.d.comb += self.code.eq(log_code)
        else:
            m.submodules.uniform8 = uniform8 = Uniform8Code(self.lanes, self.sum_width)
            uniform_code = connect(uniform8)
            for n in range(self.lanes):
                m.d.comb += self.code[n].eq(Mux(self.mode, uniform_code[n], log_code[n]))
        return m
