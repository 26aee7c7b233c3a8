"""Two products of one factor in one multiplier of 27 x 18 bits: a DSP48E2, registers and all.

    (high * 2^17 + low) * factor = high * factor * 2^17 + low * factor

A product of int9 x int8 has a magnitude of at most 2^15: 17 bits hold it, and 26 of the 27 the sum
of both values. Where the lower product is negative it borrows from the upper one. So the last
addition, of the constant 2^16, makes it a number from 2^15 to 3 * 2^15, which never borrows: the
upper product is what stands above, and the lower one the rest with its top bit inverted.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import INT8, OPERAND

from .dsp48e2 import multiply_sum

FIELD = INT8.width + OPERAND.width  # bits of a product, and the distance between both
OFFSET = 1 << FIELD - 1


class Pair(wiring.Component):
    """low * factor and high * factor, every cycle.

    Its registers are those of a DSP48E2 whose pre-adder adds both values (AMD UG579: A, D and B,
    then AD and a second B, M, P): plain, one enable for all. For a synthesis that does not see that
    an Amaranth platform with `dsp48e2` gets it by its name.

    Parameters
    ----------
    None

    Members
    -------
    advance : In, 1
        all registers move in cycles with it
    low, high : In, int8
        the values
    factor : In, int9
        what both are multiplied by
    p : Out, 2 x 17 bits
        both products, not yet apart: `products`

    Latency
    -------
    `latency` = 4 cycles with `advance`.

    Throughput
    ----------
    Two products every cycle.

    Back-pressure
    -------------
    None: the parent stops it by `advance`.
    """

    latency = 4

    def __init__(self):
        super().__init__(
            {
                "advance": In(1),
                "low": In(signed(INT8.width)),
                "high": In(signed(INT8.width)),
                "factor": In(signed(OPERAND.width)),
                "p": Out(2 * FIELD),
            }
        )

    @property
    def products(self) -> tuple[Value, Value]:
        """low * factor and high * factor, 17 bits signed each."""
        low = Cat(self.p[: FIELD - 1], ~self.p[FIELD - 1])
        return low.as_signed(), self.p[FIELD:].as_signed()

    def elaborate(self, platform):
        m = Module()
        if getattr(platform, "dsp48e2", False):
            high = self.high << FIELD
            m.d.comb += self.p.eq(
                multiply_sum(m, self.advance, self.low, high, self.factor, OFFSET)
            )
            return m

        def register(name: str, width: int) -> Signal:
            return Signal(signed(width), name=name, reset_less=True)

        a, d, ad = (
            register("a", INT8.width),
            register("d", INT8.width),
            register("ad", FIELD + OPERAND.width),
        )
        b1, b2 = register("b1", OPERAND.width), register("b2", OPERAND.width)
        product = register("m", 2 * FIELD + 1)
        with m.If(self.advance):
            m.d.sync += [
                a.eq(self.low),
                d.eq(self.high),
                b1.eq(self.factor),
                ad.eq((d << FIELD) + a),
                b2.eq(b1),
                product.eq(ad * b2),
                self.p.eq(product + OFFSET),
            ]
        return m
