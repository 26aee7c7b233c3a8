"""rtl.parts.division: the digit and what is left, for every remainder of small divisors."""

from __future__ import annotations

import pytest
from amaranth.hdl import Cat, Const, Module, Signal

from fqvit_hw.rtl.parts.division import radix_4
from tests.rtl.parts.arithmetic import results


@pytest.mark.parametrize("bits", [1, 4])
def test_every_remainder(bits):
    m, divisor = Module(), Signal(bits)
    remainder, triple = Signal(bits), Signal(bits + 2)
    m.d.comb += triple.eq(3 * divisor)
    minuend, multiples = Cat(Const(0, 2), remainder), (divisor, divisor << 1, triple)
    digit = radix_4(m, minuend, multiples, bits, "quotient")
    name = Signal(4)
    m.d.comb += name.eq(digit.choose([Const(n, 4) for n in (10, 11, 12, 13)]))
    pairs = [(r, d) for d in range(1, 1 << bits) for r in range(d)]
    remainders, divisors = zip(*pairs, strict=True)
    inputs = [(remainder, remainders), (divisor, divisors)]
    got = results(m, inputs, Cat(digit.rest, digit.bits, name), 0)
    expected = [divmod(4 * r, d) for r, d in pairs]
    assert got == [rest | q << bits | (10 + q) << bits + 2 for q, rest in expected]
