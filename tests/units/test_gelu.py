"""GELU against the exact table semantics, exhaustively, and against erf in float64 with a bound."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import erf, floor, sqrt

import numpy as np
import pytest

from fqvit_hw.units import Gelu, Requantize, gelu
from tests.units.reference import clamp, dyadic, half_up

INT16 = np.arange(-(2**15), 2**15, dtype=np.int16)
WIDTHS = (8, 10, 12)
# |gelu(x)| for x <= -4 and |gelu(x) - x| for x >= 4: at most 4 * P(Z > 4) = 4 * 3.1671e-5
TAIL = 1.267e-4
SLOPE = 1.13  # |gelu'(x)| is largest at sqrt 2: 0.5 (1 + erf 1) + exp(-1) / sqrt pi = 1.1289


def real_gelu(x: float) -> float:
    return x * 0.5 * (1 + erf(x / sqrt(2)))


def make(width: int, scale: float, zero: int) -> Gelu:
    """The table of real GELU at int8 codes real = scale * (code - zero)."""
    step = 2.0 ** (3 - width)
    half = 1 << (width - 1)
    table = [clamp(floor(real_gelu(i * step) / scale + 0.5) + zero, 8) for i in range(-half, half)]
    M, N = dyadic(Fraction(step) / Fraction(scale))
    return Gelu(width, np.array(table), Requantize(M, N, zero, 8))


@pytest.mark.parametrize("width", WIDTHS)
def test_every_input_selects_its_entry(width):
    """The three ranges for all 65536 inputs, with a random table so that no entry can be mixed."""
    rng = np.random.default_rng(width)
    half = 1 << (width - 1)
    table = rng.integers(-128, 128, 2 * half)
    p = Gelu(width, table, Requantize(40503, 22, -7, 8))
    y = gelu(INT16, p)
    assert y.dtype == np.int8
    for x, got in zip(INT16.tolist(), y.tolist(), strict=True):
        if x < -half:
            assert got == -7
        elif x < half:
            assert got == table[x + half]
        else:
            assert got == clamp(half_up(Fraction(x * 40503, 2**22)) - 7, 8)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("scale", "zero"), [(0.02, -120), (0.05, -115), (0.3, -127), (1.0, 0)])
def test_every_input_against_erf(width, scale, zero):
    """At the steps of the index nothing but the final rounding is lost inside [-4, 4).

    Outside: the tail (1.267e-4 / scale), the rounding, and M's relative error of 2^-16. The codes
    saturate on both sides of the comparison, which cannot widen a difference.
    """
    p = make(width, scale, zero)
    for x, got in zip(INT16.tolist(), gelu(INT16, p).tolist(), strict=True):
        real = x * 2.0 ** (3 - width)
        want = clamp(real_gelu(real) / scale + zero, 8)
        bound = 0.5
        if not -4 <= real < 4:
            bound += TAIL / scale + (real / scale * 2**-16 if real > 0 else 0)
        assert abs(got - want) <= bound + 1e-9, (x, got, want)


@pytest.mark.parametrize("width", WIDTHS)
def test_bound_for_real_pre_activations(width):
    """Rounding the pre-activation to the index costs at most half a step times the slope."""
    scale, zero = 0.05, -115
    step = 2.0 ** (3 - width)
    p = make(width, scale, zero)
    real = np.random.default_rng(width).uniform(-8, 8, 20000)
    code = np.floor(real / step + 0.5).astype(np.int16)
    bound = 0.5 + SLOPE * step / 2 / scale + TAIL / scale + 8 / scale * 2**-16
    for x, got in zip(real.tolist(), gelu(code, p).tolist(), strict=True):
        assert abs(got - clamp(real_gelu(x) / scale + zero, 8)) <= bound


def test_slope_and_tail_constants():
    x = np.linspace(-10, 10, 200001).tolist()
    y = [real_gelu(v) for v in x]
    slope = max(abs(b - a) for a, b in pairwise(y)) / 1e-4
    assert slope < SLOPE
    assert max(abs(b) for a, b in zip(x, y, strict=True) if a <= -4) < TAIL
    assert max(abs(a - b) for a, b in zip(x, y, strict=True) if a >= 4) < TAIL


def test_shape_is_kept():
    p = make(8, 0.05, 0)
    assert gelu(np.zeros((2, 3, 4), np.int16), p).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("x", "error"), [([0.5], TypeError), ([2**15], OverflowError), ([-(2**15) - 1], OverflowError)]
)
def test_inputs_that_are_not_int16_are_refused(x, error):
    with pytest.raises(error, match="gelu: pre-activation"):
        gelu(np.array(x), make(8, 0.05, 0))


LINEAR = Requantize(2**15, 20, 0, 8)


@pytest.mark.parametrize(
    ("arguments", "error", "field"),
    [
        ((9, np.zeros(512, int), LINEAR), ValueError, "Gelu.index_width"),
        ((16, np.zeros(2**16, int), LINEAR), ValueError, "Gelu.index_width"),
        ((8.0, np.zeros(256, int), LINEAR), TypeError, "Gelu.index_width"),
        ((8, np.zeros(255, int), LINEAR), ValueError, "Gelu.table"),
        ((8, np.full(256, 128), LINEAR), ValueError, "Gelu.table"),
        ((8, np.zeros(256), LINEAR), TypeError, "Gelu.table"),
        ((8, np.zeros(256, int), Requantize(2**15, 20, 0, 16)), ValueError, "Gelu.linear"),
        ((8, np.zeros(256, int), Requantize([2**15], [20], 0, 8)), ValueError, "Gelu.linear"),
    ],
)
def test_parameters_are_checked(arguments, error, field):
    with pytest.raises(error, match=field):
        Gelu(*arguments)
