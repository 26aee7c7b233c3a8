"""The mean over tokens: exact on all sums, and its refusals."""

from dataclasses import replace

import numpy as np
import pytest

from fqvit_hw.formats import MAX_TOKENS
from fqvit_hw.units import Pool, Requantize, pool, pool_sum


def params(tokens, zero=0, zero_out=0):
    """Output steps of half an input step."""
    ratio = 2 / tokens
    mantissa, exponent = np.frexp(ratio)
    M = round(mantissa * 2**16)
    N = 16 - exponent
    if M == 1 << 16:
        M, N = M // 2, N - 1
    return Pool(tokens, zero, Requantize(M, N, zero_out, 8))


@pytest.mark.parametrize("tokens", [1, 2, 7, 49, 64])
def test_every_constant_map_is_its_own_mean(tokens):
    codes = np.arange(-60, 61, dtype=np.int8)
    x = np.repeat(codes[None], tokens, 0)  # (N, C)
    np.testing.assert_array_equal(pool(x, params(tokens, 0, 3)), 2 * codes + 3)


def test_sum_and_rounding():
    x = np.array([[[10], [11], [13], [-4]]], np.int8)
    p = params(4, zero=-2, zero_out=1)
    assert pool_sum(x, p).tolist() == [[38]] and pool_sum(x, p).dtype == np.int32
    assert pool(x, p).tolist() == [[20]]  # 38 / 2 = 19, + 1
    half = replace(p, requantize=Requantize(1 << 15, 17, 0, 8))  # a quarter
    assert pool(x, half).tolist() == [[10]]  # 9.5 rounds up


def test_extremes_do_not_wrap():
    p = params(MAX_TOKENS, zero=127)
    x = np.full((MAX_TOKENS, 2), -128, np.int8)
    assert pool_sum(x, p).tolist() == [-255 * MAX_TOKENS] * 2
    assert pool(x, p).tolist() == [-128] * 2


def test_refusals():
    with pytest.raises(ValueError, match="expected 3 tokens"):
        pool(np.zeros((1, 2, 5), np.int8), params(3))
    with pytest.raises(OverflowError, match="pool: code"):
        pool(np.full((3, 5), 128), params(3))
    with pytest.raises(ValueError, match=r"Pool\.tokens"):
        Pool(MAX_TOKENS + 1, 0, params(3).requantize)
    with pytest.raises(ValueError, match=r"Pool\.requantize"):
        replace(params(3), requantize=Requantize(1 << 15, 17, 0, 16))
