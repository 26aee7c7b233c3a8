"""rtl.parts.shifter: every amount, signed and unsigned."""

from __future__ import annotations

import pytest
from amaranth.hdl import Module, Signal, signed, unsigned

from fqvit_hw.rtl.parts.shifter import SHIFT_LATENCY, shift_right
from tests.rtl.parts.arithmetic import results


@pytest.mark.parametrize("shape", [unsigned(31), signed(35), signed(48)])
def test_every_amount(shape):
    m, advance = Module(), Signal()
    value, amount = Signal(shape), Signal(6)
    shifted = shift_right(m, advance, value, amount, "shifted")
    top = shape.width - shape.signed
    numbers = [(1 << top) - 1, (1 << top) // 3] + ([-(1 << top), -1] if shape.signed else [1])
    pairs = [(number, n) for number in numbers for n in range(64)]
    values, amounts = zip(*pairs, strict=True)
    got = results(m, [(value, values), (amount, amounts)], shifted, SHIFT_LATENCY, advance)
    assert got == [number >> n for number, n in pairs]
