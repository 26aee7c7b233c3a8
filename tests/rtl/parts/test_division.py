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
    digits, rest = radix_4(m, minuend, multiples, bits, "quotient")
    pairs = [(r, d) for d in range(1, 1 << bits) for r in range(d)]
    remainders, divisors = zip(*pairs, strict=True)
    inputs = [(remainder, remainders), (divisor, divisors)]
    got = results(m, inputs, Cat(rest, digits), 0)
    assert [(n >> bits, n & ((1 << bits) - 1)) for n in got] == [divmod(4 * r, d) for r, d in pairs]
