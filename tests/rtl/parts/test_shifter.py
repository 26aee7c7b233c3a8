"""rtl.parts.shifter: every amount, signed and unsigned."""

from __future__ import annotations

import pytest
from amaranth.hdl import Cat, Module, Signal, signed, unsigned

from fqvit_hw.formats import ceil_log2
from fqvit_hw.rtl.parts.shifter import SHIFT_LATENCY, shift_right, shifted_up
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


@pytest.mark.parametrize(("width", "digit"), [(5, 1), (16, 1), (20, 2)])
def test_shifted_up_every_leading_digit(width, digit):
    """A value stays until it is up: one after the other, each for as many cycles as it takes."""
    m, value = Module(), Signal(width)
    up, zeros = shifted_up(m, value, digit)
    levels = ceil_log2(width // digit)
    numbers = [n for bit in range(width) for n in {1 << bit, (2 << bit) - 1}]
    given = [n for n in numbers for _ in range(levels + 1)]
    got = results(m, [(value, given)], Cat(up, zeros), 0)[levels :: levels + 1]
    clear = [(width - n.bit_length()) // digit for n in numbers]
    assert [n & ((1 << width) - 1) for n in got] == [
        n << digit * k for n, k in zip(numbers, clear, strict=True)
    ]
    assert [n >> width for n in got] == clear
