"""Number formats and the one rounding rule, against Python integers and rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fqvit_hw import formats
from fqvit_hw.formats import IntFormat, bit_length, bits_needed, ceil_log2, require, saturate
from fqvit_hw.formats import rshift_round as shift
from tests.units.reference import half_up


@pytest.mark.parametrize("width", range(1, 64))
def test_range_and_dtype_of_every_format(width):
    signed, unsigned = IntFormat(width), IntFormat(width, False)
    assert (signed.min, signed.max) == (-(2 ** (width - 1)), 2 ** (width - 1) - 1)
    assert (unsigned.min, unsigned.max) == (0, 2**width - 1)
    for fmt in (signed, unsigned):
        info = np.iinfo(fmt.dtype)
        assert info.min <= fmt.min and fmt.max <= info.max
        assert info.bits == 8 or info.bits // 2 < width, "the smallest dtype"
    assert (str(signed), str(unsigned)) == (f"int{width}", f"uint{width}")


@pytest.mark.parametrize("width", [0, -1, 64])
def test_impossible_width_is_refused(width):
    with pytest.raises(ValueError, match=f"not {width}"):
        IntFormat(width)


@pytest.mark.parametrize("n", range(13))
def test_rshift_round_exhaustive(n):
    x = np.arange(-(2**11), 2**11)  # holds every residue mod 2^n, ties of both signs among them
    assert shift(x, n).tolist() == [half_up(Fraction(v, 2**n)) for v in x.tolist()]


def test_rshift_round_wide_and_per_element():
    rng = np.random.default_rng(1)
    x = rng.integers(-(2**61), 2**61, 4000)
    n = rng.integers(0, 61, 4000)
    x[:500] = (x[:500] >> n[:500] << n[:500]) | (1 << n[:500] >> 1)  # exactly half-way
    want = [half_up(Fraction(a, 2**b)) for a, b in zip(x.tolist(), n.tolist(), strict=True)]
    assert shift(x, n).tolist() == want


@pytest.mark.parametrize("fmt", [formats.INT8, formats.UINT8, formats.INT16, IntFormat(5)], ids=str)
def test_saturate(fmt):
    x = np.arange(-70000, 70000)
    y = saturate(x, fmt)
    assert y.dtype == fmt.dtype
    assert y.tolist() == [min(max(v, fmt.min), fmt.max) for v in x.tolist()]


@pytest.mark.parametrize("fmt", [formats.INT8, formats.UINT8, formats.CODE, IntFormat(23)], ids=str)
def test_require_takes_the_range_and_nothing_else(fmt):
    inside = np.array([fmt.min, fmt.max])
    assert require(inside, fmt, "thing") is inside
    for value, bits in ((fmt.max + 1, fmt.width + 1), (fmt.min - 1, None)):
        with pytest.raises(OverflowError, match=f"thing: {fmt} holds") as error:
            require(np.array([0, value]), fmt, "thing")
        if bits:
            assert f"needs {bits} bits" in str(error.value) or fmt.signed
    assert require(np.array([], np.int64), fmt, "thing").size == 0


@pytest.mark.parametrize("x", [[1.0], [True], ["1"], [1j]])
def test_require_refuses_what_is_not_an_integer(x):
    with pytest.raises(TypeError, match="thing: expected integers"):
        require(np.array(x), formats.INT8, "thing")


def test_bits_needed_is_the_narrowest_format():
    for lo in range(-70, 70):
        for hi in range(lo, 70):
            width = bits_needed(lo, hi)
            fmt = IntFormat(width, signed=lo < 0)
            assert fmt.min <= lo and hi <= fmt.max
            if width > 1:
                narrower = IntFormat(width - 1, signed=lo < 0)
                assert lo < narrower.min or narrower.max < hi


def test_ceil_log2():
    for n in range(1, 5000):
        k = ceil_log2(n)
        assert 2**k >= n and (k == 0 or 2 ** (k - 1) < n)


def test_bit_length_exhaustive_and_at_every_edge():
    edges = [2**k + d for k in range(63) for d in (-1, 0, 1)] + [2**63 - 1]
    x = np.array([*range(1 << 16), *edges])
    assert bit_length(x).tolist() == [v.bit_length() for v in x.tolist()]


def test_stated_formats_hold_what_their_comments_derive():
    """The derivations beside the constants, as arithmetic on exact integers."""
    assert formats.PRODUCT.min <= -(2**31) * (2**16 - 1)  # acc * M
    assert -formats.BITSHIFT_ACC.min > 128 * (3 * 2**13 - 1)  # 128 * (largest row sum)
    assert IntFormat(22).max < 128 * (3 * 2**13 - 1)  # and 22 bits would not do
    # 2^(L + 15) / W for W of at least 2^(L - 1); 2^29 / W for W of at least 2^13
    assert formats.RECIPROCAL.max >= 2 ** (formats.RECIPROCAL_FRACTION + 1)
    assert formats.RECIPROCAL.max >= 2 ** (14 + formats.RECIPROCAL_FRACTION) // 2**13
    assert formats.ROW_SHIFT.max >= (255 * formats.MAX_TOKENS).bit_length() + 1
    assert -formats.MAX_ACC.min > 128 * 255 * formats.MAX_TOKENS > -IntFormat(27).min
    assert formats.CONTEXT_ACC.max >= 128 << formats.CONTEXT_FRACTION
    assert formats.NORM_RECIPROCAL.max >= 2**33 // 2 ** (formats.ROOT_BITS - 1)
    assert formats.NORM.max**2 > (formats.MAX_CHANNELS - 1) * 2**32 * (1 + 2**-15)
    # |code - zero| <= 255 at PTF factor 3, and a full row of tokens of the largest exponential
    assert IntFormat(12).max >= 255 << formats.PTF_MAX
    assert formats.MAX_TOKENS * formats.EXPONENTIAL.max < 2**36
