"""The modes of the row's maximum: codes, row sums, reciprocals, against Python integers."""

from __future__ import annotations

from fractions import Fraction
from math import exp

import numpy as np
import pytest

from fqvit_hw.attention_codes import LIS4, MODES, UNIFORM8
from fqvit_hw.formats import MAX_TOKENS
from fqvit_hw.units import Softmax, row_reciprocal, softmax, values
from fqvit_hw.units.softmax import sum_reciprocal
from fqvit_hw.vectors.softmax_corners import nearest
from tests.units.reference import nearest_code
from tests.units.test_softmax import random_rows

MODES_OF_MAXIMUM = [mode for mode in MODES.values() if mode.of_maximum]
every_mode = pytest.mark.parametrize("mode", MODES_OF_MAXIMUM, ids=lambda mode: mode.name)


def falling(mode, s: float) -> np.ndarray:
    """T[d] of exp(-s d), made by the definition."""
    e = [round(2**23 * exp(-s * d)) for d in range(256)]
    return np.array([nearest_code(x, e[0], mode.values) for x in e])


def unordered(mode) -> np.ndarray:
    return np.r_[0, np.random.default_rng(1).integers(0, mode.format.max + 1, 255)]


@every_mode
@pytest.mark.parametrize("tokens", [1, 2, 5, 49, 197])
@pytest.mark.parametrize("make", [lambda m: falling(m, 0.05), lambda m: falling(m, 0.6), unordered])
def test_a_code_is_that_of_the_distance(mode, tokens, make):
    table = make(mode)
    x = random_rows(np.random.default_rng(tokens), 24, tokens)
    y = softmax(x, Softmax(table, mode.name))
    assert y.dtype == np.uint8
    for row, codes in zip(x.tolist(), y.tolist(), strict=True):
        assert codes == [table[max(row) - v] for v in row]


@every_mode
def test_all_distances_beside_one_maximum(mode):
    table = unordered(mode)
    x = np.array([[127, 127 - d] for d in range(256)], np.int8)
    assert softmax(x, Softmax(table, mode.name)).tolist() == [[0, code] for code in table.tolist()]


@every_mode
@pytest.mark.parametrize("tokens", [2, 49, 197])
def test_masked_pairs_leave_maximum_and_sum(mode, tokens):
    rng = np.random.default_rng(7)
    p = Softmax(unordered(mode), mode.name)
    x = random_rows(rng, 40, tokens)
    mask = rng.random(x.shape) < rng.random((40, 1))
    mask[np.arange(40), rng.integers(0, tokens, 40)] = False
    x = np.where(mask & (rng.random(x.shape) < 0.5), 127, x).astype(np.int8)  # masked maxima
    for row, gone, codes in zip(x, mask, softmax(x, p, mask), strict=True):
        alone = softmax(row[~gone][None], p)[0]  # as if the masked pairs were not there
        assert (codes[gone] == mode.zero_code).all()
        assert codes[~gone].tolist() == alone.tolist()
        for made, expected in zip(
            row_reciprocal(codes, mode), row_reciprocal(alone, mode), strict=True
        ):
            assert made == expected


@every_mode
@pytest.mark.parametrize("tokens", [1, 197, MAX_TOKENS])
@pytest.mark.parametrize("x", [-128, -1, 127])
def test_equal_scores(mode, tokens, x):
    y = softmax(np.full((1, tokens), x), Softmax(falling(mode, 0.1), mode.name))
    assert not y.any()
    L = (255 * tokens).bit_length()
    made = [n.item() for n in row_reciprocal(y, mode)]
    assert made == [2 ** (L + 15) // (255 * tokens), L + 1]


@every_mode
def test_rows_sum_up_to_what_their_codes_stand_for(mode):
    x = random_rows(np.random.default_rng(3), 60, 197)
    codes = softmax(x, Softmax(falling(mode, 0.08), mode.name))
    reciprocal, shift = row_reciprocal(codes, mode)
    assert reciprocal.shape == shift.shape == (60, 1)
    for row, r, n in zip(codes.tolist(), reciprocal[:, 0], shift[:, 0], strict=True):
        W = sum(mode.values[code] for code in row)
        assert 255 <= W <= 255 * 197
        # r / 2^n is 2^14 / W less than one unit of r
        assert 0 <= Fraction(2**14, W) * 2 ** int(n) - int(r) < 1


@every_mode
def test_values_of_all_codes(mode):
    codes = np.arange(1 << mode.bits)
    assert values(codes, mode).tolist() == list(mode.values)
    with pytest.raises(OverflowError, match="softmax: code"):
        values(codes + 1, mode)


def test_reciprocal_exhaustive_over_row_sums():
    """Every W of up to 4096 tokens: floor(2^(L + 15) / W) with 16 or 17 bits, L + 1 in 9..21."""
    W = np.arange(255, 255 * MAX_TOKENS + 1)
    reciprocal, shift = sum_reciprocal(W, MODES["max4"])
    assert shift.tolist() == [w.bit_length() + 1 for w in W.tolist()]
    assert reciprocal.tolist() == [2 ** (w.bit_length() + 15) // w for w in W.tolist()]
    assert (reciprocal.min(), reciprocal.max()) == (2**15, 2**16)
    assert (shift.min(), shift.max()) == (9, 21)


@every_mode
@pytest.mark.parametrize("W", [0, 254, -1, 1 << 20])
def test_sums_that_no_row_has_are_refused(mode, W):
    with pytest.raises(OverflowError, match=r"softmax: row sum: .*255 in max|uint20 holds"):
        sum_reciprocal(np.array([1000, W]), mode)


def test_a_row_without_any_weight_is_refused():
    nothing = np.full((1, 3), 15)
    for mode in (MODES["max4"], LIS4):
        with pytest.raises(OverflowError, match="softmax: row sum"):
            row_reciprocal(nothing, mode)
    with pytest.raises(ValueError, match="rows of uniform8 are not normalized"):
        row_reciprocal(nothing, UNIFORM8)


@every_mode
def test_refusals_are_those_of_the_other_modes(mode):
    p = Softmax(falling(mode, 0.1), mode.name)
    with pytest.raises(ValueError, match="masked everywhere"):
        softmax(np.zeros((1, 2), np.int8), p, np.ones((1, 2), bool))
    with pytest.raises(ValueError, match="at most 4096 tokens are proven, got 4097"):
        softmax(np.zeros((1, 4097), np.int8), p)
    for change, match in (
        ({"table": np.r_[1, falling(mode, 0.1)[1:]]}, r"T\[0\] must be 0"),
        ({"table": np.full(256, 1 << mode.bits)}, "Softmax.table"),
        ({"table": np.zeros(255, int)}, "Softmax.table"),
        ({"row_norm": False}, f"always on in mode {mode.name}"),
    ):
        with pytest.raises(ValueError, match=match):
            Softmax(**({"table": p.table, "mode": mode.name} | change))


@every_mode
def test_the_tables_of_the_golden_vectors_are_the_nearest_codes(mode):
    """Every e on a scale on which all midpoints between values are integers: all ties are met."""
    e = np.arange(510, -1, -1)
    assert nearest(e, mode).tolist() == [nearest_code(x, 510, mode.values) for x in e.tolist()]
