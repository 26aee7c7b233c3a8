"""rtl.parts.pipeline: saturation and rounding by gates and one adder; delays."""

from __future__ import annotations

import pytest
from amaranth.hdl import Module, Signal, signed

from fqvit_hw.formats import IntFormat
from fqvit_hw.formats import saturate as clamped
from fqvit_hw.rtl.parts.pipeline import delayed, half_up, saturate
from tests.rtl.parts.arithmetic import results


@pytest.mark.parametrize("width", [1, 3, 7, 8, 9])
def test_saturate_every_value(width):
    """8 bits to fewer, as many and more."""
    m, value, fmt = Module(), Signal(signed(8)), IntFormat(width)
    numbers = list(range(-128, 128))
    got = results(m, [(value, numbers)], saturate(value, fmt), 0)
    assert got == clamped(numbers, fmt).tolist()


def test_half_up_every_value():
    """Rounded, ties up, with an addend of any sign, wider or narrower."""
    numbers = list(range(-32, 32))
    for bits in (3, 9):
        m, doubled, addend = Module(), Signal(signed(6)), Signal(signed(bits))
        reach = 1 << bits - 1
        pairs = [(n, a) for n in numbers for a in {-reach, -1, 0, 1, reach - 1}]
        values, addends = zip(*pairs, strict=True)
        got = results(m, [(doubled, values), (addend, addends)], half_up(doubled, addend), 0)
        assert got == [((n + 1) >> 1) + a for n, a in pairs]


@pytest.mark.parametrize("stages", [0, 1, 3])
def test_delayed(stages):
    m, advance, value = Module(), Signal(), Signal(signed(6))
    late = delayed(m, advance, value, stages, "late")
    numbers = list(range(-8, 8))
    assert results(m, [(value, numbers)], late, stages, advance) == numbers
