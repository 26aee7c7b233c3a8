"""PTF LayerNorm against its definition in float64 with a derived bound, and the root exactly.

Measured here (`test_wide_random_tokens`: 8 and 16 bits, C = 3 to 2048, gamma of 20 to 60 output
steps): the largest error is 0.505 output steps and 0.06 % of the codes differ from rounding the
real value. (DESIGN.md has 0.52 steps and 0.1 %.)
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt as python_isqrt

import numpy as np
import pytest

from fqvit_hw.formats import LayerNormWidths
from fqvit_hw.units import LayerNorm, layernorm
from fqvit_hw.units.layernorm import isqrt, reciprocal_root
from tests.units.reference import clamp, half_up

CHANNELS = [1, 2, 3, 64, 192, 1000, 2048]
SLACK = 1e-6  # float64 of the reference: 2^-53 of 2^16 codes times 60 steps, over std >= 1/46


def make(rng, C, width, eps=0, g=9, gamma=None, beta=None, zero=None, factor=None):
    """Random parameters; returns (LayerNorm, gamma / s, beta / s) with the real-valued pair."""
    gamma = rng.uniform(20, 60, C) * rng.choice([-1, 1], C) if gamma is None else gamma
    beta = rng.uniform(-20, 20, C) if beta is None else beta
    if width == 16:
        zero, factor = 0, np.zeros(C, int)
    p = LayerNorm(
        factor=rng.integers(0, 4, C) if factor is None else factor,
        zero=int(rng.integers(-128, 128)) if zero is None else zero,
        width=width,
        eps=eps,
        gamma=np.floor(gamma * 2**g + 0.5).astype(int),
        gamma_shift=g,
        beta=np.floor(beta * 2**10 + 0.5).astype(int),
        zero_out=int(rng.integers(-40, 40)),
    )
    return p, gamma, beta


def real_values(x, p, gamma, beta):
    """(t, y): the definition, (X - mean) / sqrt(var + eps), in float64, nothing rounded."""
    X = (x.astype(np.float64) - p.zero) * np.exp2(p.factor)
    centred = X - X.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True) + p.eps / X.shape[-1] ** 2
    t = centred / np.sqrt(np.where(variance > 0, variance, 1))
    return t, t * gamma + beta + p.zero_out


def bound(t, p):
    """The docstring's: final rounding, R and T, gamma's mantissa, beta's."""
    g, t = p.gamma_shift, np.abs(t)
    G = np.abs(p.gamma.astype(float)) / 2**g
    return 0.5 + G * (t * 2**-15 + 2**-17) + t * 2.0 ** -(g + 1) + 2**-11


def check(x, p, gamma, beta):
    """Assert the bound for every element. Returns (largest error, differing codes, elements).

    Codes saturate on both sides, which cannot widen a difference.
    """
    y = layernorm(x, p)
    assert y.dtype == np.int8 and y.shape == x.shape
    t, real = real_values(x, p, gamma, beta)
    real = real.clip(-128, 127)
    error = np.abs(y - real)
    assert (error <= bound(t, p) + SLACK).all()
    return error.max(), np.count_nonzero(y != np.floor(real + 0.5)), y.size


def python_layernorm(x: list[int], p: LayerNorm) -> list[int]:
    """docs/datapath.md in Python integers, which have no width."""
    C = len(x)
    X = [(v - p.zero) * 2**a for v, a in zip(x, p.factor.tolist(), strict=True)]
    total = sum(X)
    V = C * sum(v * v for v in X) - total * total + p.eps
    y = []
    for c in range(C):
        D, T = C * X[c] - total, 0
        if V:
            e = (V.bit_length() + 1) // 2 - 18
            R = 2**33 // python_isqrt(int(V * Fraction(4) ** -e))
            T = half_up(Fraction(D * R) / Fraction(2) ** (17 + e))
        G, B = int(p.gamma[c]), int(p.beta[c])
        affine = half_up(Fraction(T * G, 2 ** (p.gamma_shift + 16)) + Fraction(B, 2**10))
        y.append(clamp(affine + p.zero_out, 8))
    return y


def extremes(width):
    return -(2 ** (width - 1)), 2 ** (width - 1) - 1


def wide_tokens(rng, C, width, tokens):
    """Tokens of every loudness, uniform and normal."""
    low, high = extremes(width)
    spread = (high - low) * rng.choice([0.01, 0.05, 0.2, 0.5], (tokens, 1))
    x = rng.normal(0, spread, (tokens, C))
    x[::3] = rng.uniform(low, high, (len(x[::3]), C))
    return np.rint(x).clip(low, high).astype(f"int{width}")


# --- root and reciprocal


def test_isqrt_at_every_root():
    """Just below, at and just above the square of every 18-digit root."""
    root = np.arange(2**17, 2**18)
    assert (isqrt(root**2) == root).all()
    assert (isqrt(root**2 + 2 * root) == root).all()  # (root + 1)^2 - 1
    assert (isqrt(root**2 - 1) == root - 1).all()


def test_reciprocal_root_bound():
    """R 2^-(33+e) sqrt(V) lies in (1 - 2^-15, 1 + 2^-17 + 2^-33], for V up to 54 bits: exactly.

    Squared, so that it stays rational. floor of the root can only raise the reciprocal, by less
    than 1 / root <= 2^-17; floor of the quotient only lower it, by less than 1 / R <= 2^-15.
    """
    rng = np.random.default_rng(1)
    edges = [4**k + d for k in range(27) for d in (-1, 0, 1)] + [2**54 - 1, 2**54 - 2**27]
    edges += [r * r + d for r in rng.integers(2, 2**27, 500).tolist() for d in (-1, 0)]
    loud = (rng.integers(1, 2**54, 3000) >> rng.integers(0, 50, 3000)).tolist()
    V = np.array([v for v in (*range(1, 1 << 12), *edges, *loud) if v])
    R, e = reciprocal_root(V)
    assert R.min() >= 2**15 and R.max() == 2**16
    for v, r, k in zip(V.tolist(), R.tolist(), e.tolist(), strict=True):
        normalized = v * Fraction(4) ** -k
        assert 2**34 <= normalized < 2**36
        assert r == 2**33 // python_isqrt(int(normalized))
        ratio = Fraction(r * r) * v / Fraction(4) ** (33 + k)
        assert (1 - Fraction(1, 2**15)) ** 2 < ratio
        assert ratio <= (1 + Fraction(1, 2**17) + Fraction(1, 2**33)) ** 2


def test_reciprocal_root_of_zero():
    R, _ = reciprocal_root(np.array([0]))
    assert R.tolist() == [0]


# --- the whole unit


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("C", CHANNELS)
def test_equals_the_contract_in_python_integers(C, width):
    rng = np.random.default_rng(C + width)
    low, high = extremes(width)
    for eps in (0, 1, C * C):
        p = make(rng, C, width, eps, g=int(rng.integers(0, 10)))[0]
        x = wide_tokens(rng, C, width, max(3, 600 // C))
        x[0], x[1] = low, high
        x[2] = np.where(np.arange(C) % 2, low, high)
        for row, y in zip(x.tolist(), layernorm(x, p).tolist(), strict=True):
            assert y == python_layernorm(row, p)


def test_wide_random_tokens():
    rng = np.random.default_rng(2)
    worst = differing = size = 0
    for width in (8, 16):
        for C in CHANNELS[2:]:  # of one or two channels t is 0 or +-1: nothing to average over
            for _ in range(5):
                p, gamma, beta = make(rng, C, width, eps=int(rng.integers(0, C * C + 1)))
                x = wide_tokens(rng, C, width, 30_000 // C + 1)
                error, wrong, elements = check(x, p, gamma, beta)
                worst, differing, size = max(worst, error), differing + wrong, size + elements
    assert size > 1_500_000
    assert worst < 0.51 and differing < 0.001 * size


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("C", [2, 3, 64, 192, 1000, 2048])
def test_nearly_constant_tokens(C, width):
    """k channels one code above the others, at every level: V = k (C - k), from 1 (C = 2) up."""
    rng = np.random.default_rng(C)
    low, high = extremes(width)
    levels = [low, low + 1, -1, 0, 1, high - 1, *rng.integers(low, high, 6)]
    smallest = None
    for eps in (0, 1, 7):
        p, gamma, beta = make(rng, C, width, eps, zero=-3, factor=np.zeros(C, int))
        for k in {1, 2, 3, C // 2, C - 1} & set(range(1, C)):
            x = np.repeat(np.array(levels, f"int{width}")[:, None], C, axis=1)
            x[:, rng.permutation(C)[:k]] += 1
            check(x, p, gamma, beta)
            V = k * (C - k) + eps
            smallest = V if smallest is None else min(smallest, V)
    assert smallest == C - 1


def test_every_small_variance():
    """All 4^5 tokens of five channels with codes 0..3, for every small eps'."""
    rng = np.random.default_rng(3)
    x = np.stack(np.meshgrid(*[np.arange(4)] * 5), -1).reshape(-1, 5).astype(np.int8)
    for eps in range(6):
        p, gamma, beta = make(rng, 5, 8, eps, zero=0, factor=np.array([0, 0, 1, 2, 3]))
        check(x, p, gamma, beta)


def test_two_channels_give_plus_and_minus_one():
    """C = 2: t = +-1 whatever the codes are; every pair of int8."""
    codes = np.arange(-128, 128, dtype=np.int8)
    x = np.stack(np.meshgrid(codes, codes), -1).reshape(-1, 2)
    gamma, beta = np.array([50.0, 50.0]), np.zeros(2)
    p, *_ = make(np.random.default_rng(4), 2, 8, 0, 9, gamma, beta, 0, np.zeros(2, int))
    check(x, p, gamma, beta)
    y = layernorm(x, p).astype(int) - p.zero_out
    sign = np.sign(x.astype(int) - x[:, ::-1])
    assert (y == 50 * sign).all()


@pytest.mark.parametrize("eps", [0, 1, 10**6])
@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("C", CHANNELS)
def test_constant_tokens_give_beta(C, width, eps):
    """D = 0: whether V = 0 (eps' = 0) or not, the code is beta rounded, plus the zero point."""
    rng = np.random.default_rng(5)
    eps = min(eps, 2 ** LayerNormWidths(C, width).V.width // 2)
    factor = np.zeros(C, int)
    p, *_ = make(rng, C, width, eps, beta=rng.uniform(-200, 200, C), zero=-8, factor=factor)
    low, high = extremes(width)
    x = np.repeat(np.array([low, -8, 0, 1, high], f"int{width}")[:, None], C, axis=1)
    want = [clamp(half_up(Fraction(b, 2**10)) + p.zero_out, 8) for b in p.beta.tolist()]
    assert layernorm(x, p).tolist() == [want] * 5


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("C", [2, 3, 64, 1000, 2048])
def test_loudest_tokens(C, width):
    """The largest V (half the channels at either end) and the largest t (one outlier)."""
    rng = np.random.default_rng(6)
    low, high = extremes(width)
    x = np.full((4, C), low, f"int{width}")
    x[0, : C // 2] = high
    x[1, 0] = high
    x[2] = high
    x[2, -1] = low
    x[3, ::2] = high
    for zero in (-128, 127):
        factor = np.full(C, 3)
        p, gamma, beta = make(rng, C, width, 0, 10, rng.uniform(0.1, 30, C), None, zero, factor)
        check(x, p, gamma, beta)
    t = np.abs(real_values(x, p, gamma, beta)[0]).max()
    assert t == pytest.approx((C - 1) ** 0.5)  # the largest value that T has to hold


@pytest.mark.parametrize("g", range(16))
def test_every_gamma_shift(g):
    rng = np.random.default_rng(g)
    largest = min(2.0 ** (15 - g) * 0.99, 60)
    p, gamma, beta = make(rng, 96, 8, 50, g, rng.uniform(-largest, largest, 96))
    check(wide_tokens(rng, 96, 8, 100), p, gamma, beta)


def test_affine_extremes():
    """Largest gamma and beta at the largest shift: the sum needs 46 bits, and saturates."""
    C = 4
    for g, G, B in ((15, 2**15 - 1, 2**23 - 1), (15, -(2**15), -(2**23)), (0, -(2**15), 2**23 - 1)):
        p = LayerNorm([0] * C, 0, 8, 0, [G] * C, g, [B] * C, 0)
        x = np.array([[127, -128, -128, -128], [-128, 127, 0, 5], [1, 1, 1, 1]], np.int8)
        for row, y in zip(x.tolist(), layernorm(x, p).tolist(), strict=True):
            assert y == python_layernorm(row, p)


def test_leading_dimensions():
    rng = np.random.default_rng(8)
    p, *_ = make(rng, 7, 8)
    x = wide_tokens(rng, 7, 8, 6)
    assert (layernorm(x.reshape(2, 3, 7), p).reshape(6, 7) == layernorm(x, p)).all()


# --- widths and refusals


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("C", [*range(1, 70), 192, 1000, 1024, 1025, 2047, 2048])
def test_widths_hold_the_worst_case(C, width):
    """Each format against the exact worst case, in Python integers."""
    w = LayerNormWidths(C, width)
    largest = 255 * 8 if width == 8 else 2**15  # |X|
    span = 255 * 8 if width == 8 else 2**16 - 1  # largest X - smallest X
    assert w.X.min <= -largest and (w.X.max >= largest or width == 16)
    assert w.total.min <= -C * largest
    assert w.sumsq.max >= C * largest**2
    # floor(C / 2) channels at one end: V = k (C - k) span^2; one outlier: D = (C - 1) span
    assert w.V.max >= (C // 2) * (C - C // 2) * span**2
    assert w.D.max >= (C - 1) * span
    assert w.V.width <= 54 and w.D.width <= 28


def test_widths_of_the_design():
    eight, sixteen = LayerNormWidths(2048, 8), LayerNormWidths(2048, 16)
    assert (eight.X.width, eight.total.width, eight.sumsq.width) == (12, 23, 34)
    assert (eight.D.width, eight.V.width) == (23, 44)  # 42 and two bits of room for eps'
    assert (sixteen.X.width, sixteen.total.width, sixteen.sumsq.width) == (16, 27, 42)
    assert (sixteen.D.width, sixteen.V.width) == (28, 54)


GOOD = {"factor": [0, 1], "zero": 3, "width": 8, "eps": 5, "gamma": [1, 2], "gamma_shift": 4,
        "beta": [0, 0], "zero_out": 0}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"factor": [0, 4]}, ValueError, "factor"),
        ({"factor": [0.0, 1.0]}, TypeError, "factor"),
        ({"factor": []}, ValueError, "factor"),
        ({"factor": [[0, 1]]}, ValueError, "factor"),
        ({"factor": [0] * 2049}, ValueError, "factor"),
        ({"zero": 128}, ValueError, "zero"),
        ({"zero": 0.0}, TypeError, "zero"),
        ({"width": 12}, ValueError, "width"),
        ({"width": 16}, ValueError, "16-bit"),
        ({"width": 16, "zero": 0}, ValueError, "PTF"),
        ({"eps": -1}, ValueError, "eps"),
        ({"eps": 1e-6}, TypeError, "eps"),
        ({"eps": 2**24}, ValueError, "LayerNorm.eps: 16777216 takes V beyond 24 bits"),
        ({"gamma": [1]}, ValueError, "gamma"),
        ({"gamma": [0, 2**15]}, ValueError, "gamma"),
        ({"gamma": [0.5, 1.0]}, TypeError, "gamma"),
        ({"gamma_shift": 16}, ValueError, "gamma_shift"),
        ({"gamma_shift": -1}, ValueError, "gamma_shift"),
        ({"beta": [0, 2**23]}, ValueError, "beta"),
        ({"beta": [0]}, ValueError, "beta"),
        ({"zero_out": -129}, ValueError, "zero_out"),
    ],
)
def test_parameters_are_checked(change, error, field):
    with pytest.raises(error, match=field):
        LayerNorm(**(GOOD | change))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([[0.5, 1.0]], TypeError, "layernorm: input code"),
        ([[0, 128]], OverflowError, "layernorm: input code"),
        ([[0, 1, 2]], ValueError, "layernorm: expected 2 channels, got 3"),
    ],
)
def test_inputs_are_checked(x, error, message):
    with pytest.raises(error, match=message):
        layernorm(np.array(x), LayerNorm(**GOOD))
