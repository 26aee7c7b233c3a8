"""One attention layer against a row-by-row reference in Python integers and rationals."""

from __future__ import annotations

from fractions import Fraction
from math import exp

import numpy as np
import pytest

from fqvit_hw.attention_codes import MODES as CODES
from fqvit_hw.attention_codes import AttentionCodes
from fqvit_hw.units import Attention, Requantize, Softmax, attention
from fqvit_hw.units.attention import normalize_rows
from fqvit_hw.units.softmax import sum_reciprocal
from tests.units.reference import clamp, dyadic, half_up, log_int_softmax_code, nearest_code

TABLE = np.array([round(2**23 * exp(-0.08 * d)) for d in range(256)])


def make(mode="lis4", row_norm=True, head_dim=16):
    score = Requantize(*dyadic(Fraction(1, 60 * head_dim)), 0, 8)
    unit = 255 if mode == "uniform8" else 2**14
    context = Requantize(*dyadic(Fraction(3, 2 * unit)), 0, 8)
    codes = CODES[mode]
    table = [code(e, 0, codes) for e in TABLE.tolist()] if codes.of_maximum else TABLE
    return Attention(score, Softmax(np.array(table), mode, row_norm), context)


def code(e: int, S: int, codes: AttentionCodes) -> int:
    """By the definition of the mode. e: of the table; S: the row's sum."""
    if codes.of_maximum:
        return nearest_code(e, int(TABLE[0]), codes.values)
    return log_int_softmax_code(e, S) if codes.name == "lis4" else half_up(Fraction(255 * e, S))


def weight(code: int, codes: AttentionCodes) -> int:
    if codes.name == "lis4":
        return 0 if code == 15 else 2 ** (14 - code)
    return codes.values[code]


def requantized(x: int, p: Requantize) -> int:
    return clamp(half_up(Fraction(x * int(p.multiplier), 2 ** int(p.shift))) + p.zero, 8)


def reference(q, k, v, p: Attention, bias, mask):
    """q, k, v: (N, D) of one head; bias, mask: (N, N) -> context, as lists of Python ints."""
    q, k, v, bias, mask = (a.tolist() for a in (q, k, v, bias, mask))
    context = []
    for n, query in enumerate(q):
        acc = [sum(a * b for a, b in zip(query, key, strict=True)) + bias[n][j]
               for j, key in enumerate(k)]  # fmt: skip
        scores = [requantized(a, p.score) for a in acc]
        kept = [j for j in range(len(k)) if not mask[n][j]]
        m = max(scores[j] for j in kept)
        e = {j: int(TABLE[m - scores[j]]) for j in kept}
        S, codes = sum(e.values()), p.softmax.codes
        weights = {j: weight(code(e[j], S, codes), codes) for j in kept}
        row = []
        for d in range(len(v[0])):
            total = sum(w * v[j][d] for j, w in weights.items())
            if p.softmax.row_norm:
                W = sum(weights.values())
                L = W.bit_length() if codes.of_maximum else 14
                normalized = half_up(Fraction(total * (2 ** (L + 15) // W), 2 ** (L + 1)))
                # against the exact quotient: the floor of the reciprocal costs less than
                # |total| / 2^(L + 1) <= |v| * W / 2^(L + 1), the rounding one half
                error = abs(normalized - Fraction(total * 2**14, W))
                assert error <= Fraction(1, 2) + Fraction(abs(total), 2 ** (L + 1))
                total = normalized
            row.append(requantized(total, p.context))
        context.append(row)
    return context


SHAPES = [(1, 1), (1, 16), (2, 3), (5, 8), (17, 16), (49, 32)]
MODES = [("lis4", True), ("lis4", False), ("uniform8", False)]
MODES += [(mode, True) for mode in ("max4", "max3", "max5", "max8")]


@pytest.mark.parametrize(("mode", "row_norm"), MODES)
@pytest.mark.parametrize(("tokens", "head_dim"), SHAPES)
def test_one_head(tokens, head_dim, mode, row_norm):
    rng = np.random.default_rng(tokens + head_dim)
    q, k, v = rng.integers(-128, 128, (3, tokens, head_dim), np.int8)
    none = np.zeros((tokens, tokens), np.int64)
    p = make(mode, row_norm, head_dim)
    y = attention(q, k, v, p)
    assert y.dtype == np.int8 and y.tolist() == reference(q, k, v, p, none, none)


@pytest.mark.parametrize(("mode", "row_norm"), MODES[:4])
def test_one_head_of_197_tokens(mode, row_norm):
    test_one_head(197, 64, mode, row_norm)


@pytest.mark.parametrize(("mode", "row_norm"), MODES)
def test_bias_and_mask(mode, row_norm):
    """Swin's shifted windows: a bias per pair, and pairs left out."""
    rng = np.random.default_rng(11)
    q, k, v = rng.integers(-128, 128, (3, 49, 32), np.int8)
    bias = rng.integers(-30000, 30000, (49, 49))
    mask = rng.random((49, 49)) < 0.6
    np.fill_diagonal(mask, False)
    p = make(mode, row_norm, 32)
    assert attention(q, k, v, p, bias, mask).tolist() == reference(q, k, v, p, bias, mask)


def test_leading_dimensions_are_heads():
    rng = np.random.default_rng(12)
    q, k, v = rng.integers(-128, 128, (3, 2, 3, 7, 8), np.int8)
    bias = rng.integers(-9000, 9000, (3, 7, 7))  # one per head, shared by the batch
    y = attention(q, k, v, make(head_dim=8), bias)
    for b, h in np.ndindex(2, 3):
        one = attention(q[b, h], k[b, h], v[b, h], make(head_dim=8), bias[h])
        assert (y[b, h] == one).all()


def test_every_tensor_between_units_is_recorded():
    q, k, v = np.random.default_rng(13).integers(-128, 128, (3, 5, 8), np.int8)
    seen = {}
    y = attention(q, k, v, make(), record=seen.__setitem__)
    assert list(seen) == ["score.acc", "score", "softmax", "context.acc", "row_reciprocal",
                          "row_shift", "context.normalized", "context"]  # fmt: skip
    assert seen["context"] is y and all(t.dtype.kind in "iu" for t in seen.values())


def test_normalize_rows_extremes():
    """Every W at v = -128 and v = 127 everywhere: the row's mean comes back, in 22 bits."""
    W = np.arange(2**13, 3 * 2**13)[:, None]
    reciprocal = 2**29 // W
    for v in (-128, 127):
        y = normalize_rows(v * W, reciprocal, 15)
        assert np.abs(y - v * 2**14).max() <= abs(v) and np.abs(y).max() <= 2**21
        want = [half_up(Fraction(v * w * (2**29 // w), 2**15)) for w in W[:, 0].tolist()]
        assert y[:, 0].tolist() == want


def test_normalize_rows_of_every_sum_of_the_maximum():
    """Every W of up to 4096 tokens, v at its ends everywhere: its mean within 64.5 units."""
    W = np.arange(255, 255 * 4096 + 1)[:, None]
    reciprocal, shift = sum_reciprocal(W, CODES["max4"])
    for v in (-128, 127):
        y = normalize_rows(v * W, reciprocal, shift)
        assert np.abs(y - v * 2**14).max() <= 64 and np.abs(y).max() <= 2**21
        for n in [*range(2000), *range(2000, len(W), 997)]:
            w, exact = int(W[n, 0]), Fraction(v * int(W[n, 0]) * int(reciprocal[n, 0]))
            assert y[n, 0] == half_up(exact / 2 ** (w.bit_length() + 1))


def test_ties_of_normalized_rows_go_up():
    """W = 510 is two of 255, its reciprocal 2^7 * 257: odd multiples of 4 are half-way."""
    reciprocal, shift = sum_reciprocal(np.array([[510]]), CODES["max4"])
    acc = np.array([[4, -4, 12, -12]])
    assert (acc * 257 / 8 % 1 == 0.5).all()
    assert normalize_rows(acc, reciprocal, shift).tolist() == [[129, -128, 386, -385]]


def test_bias_that_overflows_is_refused():
    q = np.full((1, 8), 127, np.int8)
    with pytest.raises(OverflowError, match=r"attention: score: int32 .* needs 33 bits"):
        attention(q, q, q, make(), np.array([[2**31 - 1]]))


@pytest.mark.parametrize("which", range(3))
def test_float_operands_are_refused(which):
    operands = [np.zeros((2, 4), np.int8) for _ in range(3)]
    operands[which] = np.zeros((2, 4))
    with pytest.raises(TypeError, match="expected integers, got float64"):
        attention(*operands, make())


def test_parameters_are_checked():
    good, softmax = Requantize(2**15, 20, 0, 8), Softmax(TABLE)
    wide = Requantize(2**15, 20, 0, 16)
    channels = Requantize(np.full(2, 2**15), np.full(2, 20), 0, 8)
    for bad in (wide, channels):
        with pytest.raises(ValueError, match=r"Attention\.score"):
            Attention(bad, softmax, good)
        with pytest.raises(ValueError, match=r"Attention\.context"):
            Attention(good, softmax, bad)
