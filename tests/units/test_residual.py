"""Residual add against the exact rational sum, rounded once: no code may differ."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fqvit_hw.units import Residual, residual
from tests.units.reference import clamp, half_up

# (x_width, y_width, width): PTF stream or 16-bit stream; codes or accumulator branch
PATHS = [(8, 8, 8), (8, 16, 8), (8, 8, 16), (8, 16, 16), (16, 8, 16), (16, 16, 16), (16, 16, 8)]


def make(rng, x_width, y_width, width, channels=16, x_multiplier=None, y_multiplier=None, shift=16):
    def zero(bits):
        return int(rng.integers(-128, 128)) if bits == 8 else 0

    def factor(bits):
        return rng.integers(0, 4, channels) if bits == 8 else np.zeros(channels, int)

    def multiplier():
        return int(rng.integers(0, 2**17))

    return Residual(
        x_width=x_width,
        x_zero=zero(x_width),
        x_factor=factor(x_width),
        x_multiplier=multiplier() if x_multiplier is None else x_multiplier,
        y_width=y_width,
        y_zero=zero(y_width),
        y_multiplier=multiplier() if y_multiplier is None else y_multiplier,
        shift=shift,
        width=width,
        zero=zero(width),
        factor=factor(width),
    )


def codes(rng, width, shape):
    """Random codes with both extremes in the first two rows."""
    x = rng.integers(-(2 ** (width - 1)), 2 ** (width - 1), shape)
    x[0], x[1] = -(2 ** (width - 1)), 2 ** (width - 1) - 1
    return x.astype(f"int{width}")


def exact(x: int, y: int, p: Residual, c: int) -> int:
    """The rational sum in steps of output channel c, rounded half up, saturated."""
    X = (x - p.x_zero) * 2 ** int(p.x_factor[c]) * Fraction(p.x_multiplier, 2**p.shift)
    Y = (y - p.y_zero) * Fraction(p.y_multiplier, 2**p.shift)
    return clamp(half_up((X + Y) / 2 ** int(p.factor[c])) + p.zero, p.width)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_every_path(path):
    rng = np.random.default_rng(sum(path))
    compared = 0
    for shift in (0, 1, 8, 16, 17, 24, 33, 40):
        p = make(rng, *path, shift=shift)
        x, y = codes(rng, path[0], (40, 16)), codes(rng, path[1], (40, 16))
        got = residual(x, y, p)
        assert got.dtype == f"int{path[2]}" and got.shape == x.shape
        for i, c in np.ndindex(x.shape):
            assert got[i, c] == exact(int(x[i, c]), int(y[i, c]), p, c)
            compared += 1
    assert compared == 8 * 640


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 3), (3, 0), (2, 1)])
def test_all_pairs_of_int8(a, b):
    """65536 pairs at 16 fraction bits, for input factor a and output factor b."""
    p = Residual(8, -5, [a], 41234, 8, 9, 77771, 16, 8, 3, [b])
    pairs = np.arange(-128, 128, dtype=np.int8)
    x, y = (g.reshape(-1, 1) for g in np.meshgrid(pairs, pairs))
    got = residual(x, y, p)[:, 0].tolist()
    X, Y = (x[:, 0].astype(int) + 5) * 2**a * 41234, (y[:, 0].astype(int) - 9) * 77771
    # 2 (s + 1/2) floored by Python's integer division: the definition of half up
    n = 2 ** (16 + b)
    want = [clamp((2 * s + n) // (2 * n) + 3, 8) for s in (X + Y).tolist()]
    assert got == want


def test_ties_go_up():
    """Equal weights of one half: x + y odd lies half-way."""
    p = Residual(8, 0, [0], 2**15, 8, 0, 2**15, 16, 8, 0, [0])
    x = np.array([[1], [-1], [2], [-2], [-3]], np.int8)
    y = np.array([[0], [0], [1], [-1], [0]], np.int8)
    assert residual(x, y, p)[:, 0].tolist() == [1, 0, 2, -1, -1]


def test_widest_sum_fits():
    """-2^15 * (2^17 - 1) twice is the largest magnitude: 34 bits, and it saturates."""
    p = Residual(16, 0, [0], 2**17 - 1, 16, 0, 2**17 - 1, 17, 16, 0, [0])
    x = np.array([[-(2**15)], [2**15 - 1]], np.int16)
    assert residual(x, x, p)[:, 0].tolist() == [-(2**15), 2**15 - 1]
    half = Residual(16, 0, [0], 2**17 - 1, 16, 0, 2**17 - 1, 18, 16, 0, [0])
    assert residual(x, x, half)[:, 0].tolist() == [-(2**15), 2**15 - 1]


def test_identity_on_a_16_bit_stream():
    """x + 0 at multiplier 2^16 and shift 16 gives x back, for all int16."""
    p = Residual(16, 0, [0], 2**16, 8, 0, 0, 16, 16, 0, [0])
    x = np.arange(-(2**15), 2**15, dtype=np.int16)[:, None]
    assert (residual(x, np.zeros(x.shape, np.int8), p) == x).all()


@pytest.mark.parametrize(
    ("x", "y", "error", "what"),
    [
        ([[0.5]], [[0]], TypeError, "x"),
        ([[0]], [[0.5]], TypeError, "y"),
        ([[128]], [[0]], OverflowError, "x"),
        ([[0]], [[2**15]], OverflowError, "y"),
        ([[0, 0]], [[0, 0]], ValueError, "expected 1 channels"),
        ([[0], [0]], [[0]], ValueError, "expected 1 channels"),
    ],
)
def test_inputs_are_checked(x, y, error, what):
    p = Residual(8, 0, [0], 1, 16, 0, 1, 16, 8, 0, [0])
    with pytest.raises(error, match=f"residual: {what}"):
        residual(np.array(x), np.array(y), p)


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"x_width": 12}, ValueError, "Residual.x_width"),
        ({"y_width": 32}, ValueError, "Residual.y_width"),
        ({"width": 9}, ValueError, "Residual.width"),
        ({"x_zero": 128}, ValueError, "Residual.x_zero"),
        ({"y_zero": -129}, ValueError, "Residual.y_zero"),
        ({"zero": 1.0}, TypeError, "Residual.zero"),
        ({"x_width": 16, "x_zero": 1}, ValueError, "Residual.x_zero"),
        ({"y_width": 16, "y_zero": 1}, ValueError, "Residual.y_zero"),
        ({"width": 16, "zero": 1}, ValueError, "Residual.zero"),
        ({"x_factor": np.array([0, 4])}, ValueError, "Residual.x_factor"),
        ({"factor": np.array([0, -1])}, ValueError, "Residual.factor"),
        ({"factor": np.array([0])}, ValueError, "Residual.factor"),
        ({"x_factor": np.array([0.0, 1.0])}, TypeError, "Residual.x_factor"),
        ({"x_width": 16, "x_factor": np.array([0, 1])}, ValueError, "PTF"),
        ({"width": 16, "factor": np.array([0, 1])}, ValueError, "PTF"),
        ({"x_multiplier": 2**17}, ValueError, "Residual.x_multiplier"),
        ({"y_multiplier": -1}, ValueError, "Residual.y_multiplier"),
        ({"shift": 41}, ValueError, "Residual.shift"),
        ({"shift": -1}, ValueError, "Residual.shift"),
    ],
)
def test_parameters_are_checked(change, error, field):
    good = {
        "x_width": 8, "x_zero": 0, "x_factor": np.zeros(2, int), "x_multiplier": 1,
        "y_width": 8, "y_zero": 0, "y_multiplier": 1,
        "shift": 16, "width": 8, "zero": 0, "factor": np.zeros(2, int),
    }  # fmt: skip
    with pytest.raises(error, match=field):
        Residual(**(good | change))
