"""Matmul against Python integers; BitShift against the exact rational sum of v * 2^-code."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fqvit_hw.formats import MAX_ACC, IntFormat
from fqvit_hw.units import Linear, bitshift_matmul, matmul


def integers(rng, shape, dtype=np.int8):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape, dtype)


def python_matmul(a, weight, bias):
    """Row by row in Python integers, which cannot overflow."""
    return [
        [sum(x * w for x, w in zip(row, column, strict=True)) + b
         for column, b in zip(weight.tolist(), bias.tolist(), strict=True)]
        for row in a.tolist()
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize(("n", "k", "out"), [(1, 1, 1), (5, 17, 3), (7, 192, 10)])
def test_matmul(n, k, out, dtype):
    rng = np.random.default_rng(n + k)
    a, weight = integers(rng, (n, k), dtype), integers(rng, (out, k))
    bias = rng.integers(-(2**30), 2**30, out)
    y = matmul(a, weight, bias)
    assert y.dtype == np.int32 and y.tolist() == python_matmul(a, weight, bias)


def test_matmul_all_pairs_of_int8():
    a = np.arange(-128, 128, dtype=np.int8)[:, None]
    assert (matmul(a, a) == np.outer(a.astype(int), a.astype(int))).all()


def test_matmul_with_leading_dimensions():
    rng = np.random.default_rng(3)
    a, b = integers(rng, (2, 3, 5, 8)), integers(rng, (2, 3, 4, 8))
    y, shared = matmul(a, b), matmul(a, b[0, 0])
    zero = np.zeros(4, int)
    for i in np.ndindex(2, 3):
        assert y[i].tolist() == python_matmul(a[i], b[i], zero)
        assert shared[i].tolist() == python_matmul(a[i], b[0, 0], zero)


def test_matmul_reaches_the_end_of_int32_and_no_further():
    """128 * 128 * 16384 / 2 = 2^27 and a bias that fills the rest of int32 exactly."""
    a = np.full((1, 8192), -128, np.int8)
    weight = np.full((1, 8192), -128, np.int8)
    room = 2**31 - 1 - 2**27
    assert matmul(a, weight, np.array([room])).tolist() == [[2**31 - 1]]
    with pytest.raises(OverflowError, match=r"worst accumulator: int32 .* needs 33 bits"):
        matmul(a, weight, np.array([room + 1]))
    # the worst case is judged by the weights, whatever the signs of these activations are
    a[0, ::2] = 127
    with pytest.raises(OverflowError, match="worst accumulator"):
        matmul(a, weight, np.array([room + 1]))


@pytest.mark.parametrize(
    ("a", "weight", "bias", "error", "what"),
    [
        ([[0.5]], [[1]], 0, TypeError, "operand"),
        ([[1]], [[0.5]], 0, TypeError, "weight"),
        ([[1]], [[1]], [0.5], TypeError, "bias"),
        ([[256]], [[1]], 0, OverflowError, "operand"),
        ([[1]], [[128]], 0, OverflowError, "weight"),
        ([[1]], [[1]], [2**31], OverflowError, "bias"),
    ],
)
def test_matmul_refuses(a, weight, bias, error, what):
    with pytest.raises(error, match=f"matmul: {what}"):
        matmul(np.array(a), np.array(weight), np.array(bias))


def test_bitshift_all_codes_and_values():
    """One pair at a time: every code 0..15 with every int8 value, exactly v * 2^-code."""
    codes = np.arange(16, dtype=np.uint8)[:, None]  # (n, 1)
    v = np.arange(-128, 128, dtype=np.int8)[None]  # (1, d)
    y = bitshift_matmul(codes, v)
    assert y.dtype == np.int32
    for code, row in enumerate(y.tolist()):
        for value, got in zip(v[0].tolist(), row, strict=True):
            assert Fraction(got, 2**14) == (0 if code == 15 else Fraction(value, 2**code))


@pytest.mark.parametrize(("m", "d"), [(1, 1), (5, 3), (49, 32), (197, 64)])
def test_bitshift_sum(m, d):
    rng = np.random.default_rng(m)
    smallest = m.bit_length()  # m * 2^-smallest < 1: the row sum fits
    codes, v = rng.integers(smallest, 16, (4, m), np.uint8), integers(rng, (m, d))
    y = bitshift_matmul(codes, v)
    for n in range(4):
        weight = [0 if c == 15 else Fraction(1, 2**c) for c in codes[n].tolist()]
        for j in range(d):
            want = sum(w * x for w, x in zip(weight, v[:, j].tolist(), strict=True))
            assert Fraction(int(y[n, j]), 2**14) == want


def test_bitshift_with_leading_dimensions():
    rng = np.random.default_rng(4)
    codes, v = rng.integers(3, 16, (2, 3, 5, 7), np.uint8), integers(rng, (2, 3, 7, 4))
    y = bitshift_matmul(codes, v)
    for i in np.ndindex(2, 3):
        assert (y[i] == bitshift_matmul(codes[i], v[i])).all()


def test_bitshift_holds_the_largest_softmax_row_and_refuses_what_no_row_can_be():
    """Row sums stay below 1.5 * 2^14; 23 bits hold 2^15 - 1, two codes of 0 are 2^15."""
    largest = np.array([[0, *range(1, 15)]], np.uint8)  # 2^14 + (2^14 - 1) = 2^15 - 1
    v = np.full((15, 1), -128, np.int8)
    assert bitshift_matmul(largest, v).tolist() == [[-128 * (2**15 - 1)]]
    two = np.zeros((1, 2), np.uint8)
    with pytest.raises(OverflowError, match=r"bitshift: worst accumulator: int23 .* needs 24 bits"):
        bitshift_matmul(two, np.zeros((2, 1), np.int8))


def test_values_of_the_maximum_need_28_bits_for_4096_tokens():
    """An ordinary product of uint8 values: 128 * 255 * 4096 in magnitude, below 2^27."""
    v = np.repeat(np.array([[-128], [127]], np.int8), 4096, axis=1)
    y = matmul(np.full((1, 4096), 255, np.uint8), v)
    assert y.tolist() == [[-128 * 255 * 4096, 127 * 255 * 4096]]
    assert MAX_ACC.min <= y.min() < IntFormat(27).min and y.max() <= MAX_ACC.max


@pytest.mark.parametrize(
    ("codes", "v", "error", "what"),
    [
        ([[1.0]], [[1]], TypeError, "code"),
        ([[1]], [[1.0]], TypeError, "value"),
        ([[16]], [[1]], OverflowError, "code"),
        ([[-1]], [[1]], OverflowError, "code"),
        ([[1]], [[128]], OverflowError, "value"),
    ],
)
def test_bitshift_refuses(codes, v, error, what):
    with pytest.raises(error, match=f"bitshift: {what}"):
        bitshift_matmul(np.array(codes), np.array(v))


@pytest.mark.parametrize(
    ("weight", "bias", "error", "what"),
    [
        ([1, 2], [0], ValueError, "Linear.weight"),
        ([[128]], [0], ValueError, "Linear.weight"),
        ([[0.5]], [0], TypeError, "Linear.weight"),
        ([[1]], [0, 0], ValueError, "Linear.bias"),
        ([[1]], [2**31], ValueError, "Linear.bias"),
        ([[1]], [0.5], TypeError, "Linear.bias"),
    ],
)
def test_parameters_are_checked(weight, bias, error, what):
    with pytest.raises(error, match=what):
        Linear(np.array(weight), np.array(bias))
