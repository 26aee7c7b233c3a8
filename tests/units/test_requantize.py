"""Requantize against exact rationals: acc * M / 2^N rounded half up, plus zero, saturated."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fqvit_hw.units import Requantize, requantize
from tests.units.reference import clamp, half_up

ACC_EXTREMES = [-(2**31), -(2**31) + 1, -65537, -3, -2, -1, 0, 1, 2, 3, 65537, 2**31 - 2, 2**31 - 1]
MULTIPLIERS = [0, 2**15, 2**15 + 1, 40503, 2**16 - 1]


def exact(acc, M, N, zero, width) -> list[int]:
    return [clamp(half_up(Fraction(a * M, 2**N)) + zero, width) for a in acc]


@pytest.mark.parametrize("width", [8, 10, 12, 16, 32])
@pytest.mark.parametrize("M", MULTIPLIERS)
def test_every_shift(M, width):
    rng = np.random.default_rng(M + width)
    for N in range(1, 48):
        # |y| around the output range, where rounding and saturation both show
        span = min(2**31 - 1, 2 ** max(N + width - 16, 1))
        acc = np.array([*ACC_EXTREMES, *rng.integers(-span, span, 12)], np.int64)
        for zero in (0, -(1 << (width - 1)), (1 << (width - 1)) - 1, 5):
            y = requantize(acc, Requantize(M, N, zero, width))
            assert y.tolist() == exact(acc.tolist(), M, N, zero, width)


def test_all_int16_accumulators_with_ties():
    """M = 2^15, N = 20: every 32nd step lies exactly half-way between two codes."""
    acc = np.arange(-(2**15), 2**15)
    y = requantize(acc, Requantize(2**15, 20, 3, 16))
    assert y.tolist() == exact(acc.tolist(), 2**15, 20, 3, 16)
    assert y[acc == 16].tolist() == [1 + 3] and y[acc == -16].tolist() == [0 + 3]  # +-0.5: up


def test_per_channel():
    rng = np.random.default_rng(2)
    C = 64
    M, N = rng.integers(2**15, 2**16, C), rng.integers(20, 30, C)
    M[7] = 0  # a dead channel gives the zero point
    acc = rng.integers(-(2**20), 2**20, (3, 5, C))
    y = requantize(acc, Requantize(M, N, -9, 8))
    assert y.shape == acc.shape and y.dtype == np.int8
    for c in range(C):
        got = y[..., c].ravel().tolist()
        assert got == exact(acc[..., c].ravel().tolist(), int(M[c]), int(N[c]), -9, 8)
    assert (y[..., 7] == -9).all()


@pytest.mark.parametrize("acc", [2**31, -(2**31) - 1])
def test_accumulator_beyond_int32_is_refused(acc):
    with pytest.raises(OverflowError, match="requantize: accumulator: int32 holds"):
        requantize(np.array([0, acc]), Requantize(2**15, 1, 0, 8))


def test_float_accumulator_is_refused():
    with pytest.raises(TypeError, match="requantize: accumulator: expected integers, got float64"):
        requantize(np.array([1.0]), Requantize(2**15, 1, 0, 8))


@pytest.mark.parametrize("shape", [(3, 4), (3, 1), (5,)])
def test_channels_that_do_not_match_are_refused(shape):
    p = Requantize(np.full(2, 2**15), np.full(2, 5), 0, 8)
    with pytest.raises(ValueError, match="requantize: expected 2 channels, got shape"):
        requantize(np.zeros(shape, np.int32), p)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((2**15 - 1, 1, 0, 8), ValueError, "multiplier"),
        ((2**16, 1, 0, 8), ValueError, "multiplier"),
        ((-(2**15), 1, 0, 8), ValueError, "multiplier"),
        ((2.0**15, 1, 0, 8), TypeError, "multiplier"),
        ((2**15, 0, 0, 8), ValueError, "shift"),
        ((2**15, 48, 0, 8), ValueError, "shift"),
        ((2**15, -1, 0, 8), ValueError, "shift"),
        ((2**15, 1.0, 0, 8), TypeError, "shift"),
        ((np.full(3, 2**15), np.full(2, 1), 0, 8), ValueError, "shift"),
        ((np.full((2, 2), 2**15), np.full((2, 2), 1), 0, 8), ValueError, "shape"),
        ((2**15, 1, 128, 8), ValueError, "zero"),
        ((2**15, 1, -129, 8), ValueError, "zero"),
        ((2**15, 1, 0.0, 8), TypeError, "zero"),
        ((2**15, 1, 0, 7), ValueError, "width"),
        ((2**15, 1, 0, 33), ValueError, "width"),
        ((2**15, 1, 0, 8.0), TypeError, "width"),
    ],
)
def test_parameters_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        Requantize(*arguments)
