"""Log-Int-Softmax and uniform8 against the authors' definition on exact rationals: equality.

The definition (`reference.log_int_softmax_code`) divides and rounds as torch does; the unit never
divides. No tolerance stands between the two.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, exp, floor

import numpy as np
import pytest

from fqvit_hw.attention_codes import LIS4
from fqvit_hw.units import Softmax, row_reciprocal, softmax
from fqvit_hw.units.softmax import log2_code
from tests.units.reference import half_up, log_int_softmax_code

D = range(256)


def exact_table(s: float) -> np.ndarray:
    return np.array([round(2**23 * exp(-s * d)) for d in D])


def i_exp_table(s: float) -> np.ndarray:
    """I-BERT's polynomial as DESIGN.md writes it, in Python integers."""
    x0, b = ceil(0.6931 / s), floor(0.96963238 / 0.35815147 / s)
    c = floor(1 / 0.35815147 / s**2)
    F = 24 - c.bit_length()
    table = []
    for d in D:
        q = d // x0
        r = -(d - q * x0)
        table.append(((r * (r + b) + c) << F) >> q)
    return np.array(table)


SCALES = [0.01, 0.03, 0.0625, 0.1, 0.2, 0.5, 1.0, 1.6]
TABLES = [pytest.param(make(s), id=f"{make.__name__}-{s}")
          for make in (exact_table, i_exp_table) for s in SCALES]  # fmt: skip


def definition(row, table, mask=None) -> tuple[list[int], int]:
    """Codes of one row of Python ints by the definition, and S."""
    keep = [True] * len(row) if mask is None else [not m for m in mask]
    m = max(x for x, k in zip(row, keep, strict=True) if k)
    e = [int(table[m - x]) if k else 0 for x, k in zip(row, keep, strict=True)]
    S = sum(e)
    codes = {value: log_int_softmax_code(value, S) for value in set(e)}
    return [codes[value] for value in e], S


def random_rows(rng, rows: int, tokens: int) -> np.ndarray:
    """int8 scores from sharp to flat, with saturated ones among them."""
    spread = rng.choice([0, 1, 3, 10, 30, 90], (rows, 1))
    centre = rng.integers(-100, 100, (rows, 1))
    return np.clip(np.rint(rng.normal(centre, spread, (rows, tokens))), -128, 127).astype(np.int8)


@pytest.mark.parametrize("tokens", [1, 2, 5, 49, 197])
@pytest.mark.parametrize("table", TABLES)
def test_lis_is_the_authors_definition(table, tokens):
    x = random_rows(np.random.default_rng(tokens), 24, tokens)
    y = softmax(x, Softmax(table))
    assert y.dtype == np.uint8
    for row, codes in zip(x.tolist(), y.tolist(), strict=True):
        assert codes == definition(row, table)[0]


def test_log2_code_exhaustive_on_small_ratios():
    """Every 0 <= e <= S < 500: all ties of small numerators, 1.5, 2.5 and 5.5 among them."""
    e, S = (a.ravel() for a in np.meshgrid(np.arange(500), np.arange(1, 500)))
    e, S = e[e <= S], S[e <= S]
    got = log2_code(e, S).tolist()
    want = [log_int_softmax_code(a, b) for a, b in zip(e.tolist(), S.tolist(), strict=True)]
    assert got == want


@pytest.mark.parametrize(("e", "S", "code"), [(2, 3, 1), (2, 5, 1), (2, 11, 3), (2, 23, 4)])
def test_half_way_quotients(e, S, code):
    """S/e = 1.5 rounds to 2, 2.5 to 2 (even), 5.5 to 6, 11.5 to 12: only 2.5 goes down."""
    for scale in (1, 3, 2**22):
        assert log2_code(np.int64(e * scale), np.int64(S * scale)) == code
    assert log_int_softmax_code(e, S) == code


def test_log2_code_around_every_threshold():
    """S one step below, at and above each threshold of S/e, for large and small e."""
    rng = np.random.default_rng(5)
    large = [*rng.integers(1, 2**24, 200).tolist(), *range(1, 40), 2**24 - 1]
    for e in large:
        S = [half_up((Fraction(3 * 2**c, 2) - Fraction(1, 2)) * e) + d
             for c in range(16) for d in (-1, 0, 1)]  # fmt: skip
        S = [s for s in S if s >= e]
        got = log2_code(np.full(len(S), e), np.array(S)).tolist()
        assert got == [log_int_softmax_code(e, s) for s in S]


def test_rows_whose_quotients_are_all_half_way():
    """k tokens of e = 2 and one of e = 1: S/e = k + 1/2 exactly, k = 1..4000."""
    table = np.zeros(256, int)
    table[:2] = 2, 1
    for k in [*range(1, 70), *range(70, 4000, 61), 95, 191, 383, 767, 1535, 3071]:
        row = [7] * k + [6]
        codes, S = definition(row, table)
        assert Fraction(S, 2) == k + Fraction(1, 2)
        assert softmax(np.array([row]), Softmax(table))[0].tolist() == codes


def test_short_rows_full_of_ties():
    rng = np.random.default_rng(6)
    compared = 0
    for _ in range(60):
        table = np.sort(rng.integers(0, 14, 256))[::-1].copy()
        table[0] += 1
        table[8:] = 0
        x = rng.integers(-8, 0, (40, rng.integers(1, 7)))
        y = softmax(x, Softmax(table))
        for row, codes in zip(x.tolist(), y.tolist(), strict=True):
            assert codes == definition(row, table)[0]
            compared += 1
    assert compared == 2400


def test_all_distances_beside_one_maximum():
    """Two tokens, every distance 0..255, both tables at every scale."""
    x = np.array([[127, 127 - d] for d in D], np.int8)
    for parameter in TABLES:
        table = parameter.values[0]
        y = softmax(x, Softmax(table)).tolist()
        assert y == [definition(row, table)[0] for row in x.tolist()]


@pytest.mark.parametrize("x", [-128, -1, 0, 127])
@pytest.mark.parametrize("tokens", [1, 2, 3, 48, 49, 197, 4096])
def test_equal_scores(tokens, x):
    """k = tokens exactly; a single token has code 0."""
    y = softmax(np.full((1, tokens), x), Softmax(exact_table(0.1)))
    assert (y == log_int_softmax_code(1, tokens)).all()
    assert tokens > 1 or y.tolist() == [[0]]


@pytest.mark.parametrize("tokens", [2, 49, 197])
@pytest.mark.parametrize("mode", ["lis4", "uniform8"])
def test_masked_pairs_leave_maximum_and_sum(tokens, mode):
    rng = np.random.default_rng(7)
    p = Softmax(exact_table(0.07), mode, row_norm=False)
    x = random_rows(rng, 40, tokens)
    mask = rng.random(x.shape) < rng.random((40, 1))
    mask[np.arange(40), rng.integers(0, tokens, 40)] = False
    x = np.where(mask & (rng.random(x.shape) < 0.5), 127, x).astype(np.int8)  # masked maxima
    y = softmax(x, p, mask)
    for row, gone, codes in zip(x, mask, y, strict=True):
        assert (codes[gone] == (15 if mode == "lis4" else 0)).all()
        alone = softmax(row[~gone][None], p)[0]  # as if the masked pairs were not there
        assert codes[~gone].tolist() == alone.tolist()
    if mode == "lis4":
        got = [definition(r, p.table, g)[0] for r, g in zip(x.tolist(), mask.tolist(), strict=True)]
        assert y.tolist() == got


def test_mask_is_broadcast():
    x = random_rows(np.random.default_rng(8), 6, 5).reshape(2, 3, 5)
    mask = np.array([False, True, False, False, True])
    p = Softmax(exact_table(0.1))
    assert (softmax(x, p, mask) == softmax(x, p, np.tile(mask, (2, 3, 1)))).all()


@pytest.mark.parametrize("tokens", [1, 2, 49, 197])
@pytest.mark.parametrize("table", TABLES)
def test_uniform8_is_exact_rounding(table, tokens):
    p = Softmax(table, "uniform8", row_norm=False)
    x = random_rows(np.random.default_rng(9), 12, tokens)
    for row, codes in zip(x.tolist(), softmax(x, p).tolist(), strict=True):
        e = [int(table[max(row) - v]) for v in row]
        want = {v: half_up(Fraction(255 * v, sum(e))) for v in set(e)}
        assert codes == [want[v] for v in e]


def test_uniform8_ties_go_up():
    """255 e / S half-way: e = 1 beside 509, 169, 101, 33 others is 0.5, 1.5, 2.5, 7.5."""
    for others, code in ((509, 1), (169, 2), (101, 3), (33, 8)):
        x = np.zeros((1, others + 1), np.int8)
        assert softmax(x, Softmax(np.full(256, 3), "uniform8", False)).tolist()[0] == [code] * (
            others + 1
        )


def row_sum(codes) -> int:
    return sum(0 if c == 15 else 2 ** (14 - c) for c in codes)


def test_row_sums_stay_in_the_proven_range():
    """W in [2^13, 1.5 * 2^14): random rows, and rows built to come close to either end."""
    rng = np.random.default_rng(10)
    sums = []
    for tokens in (1, 2, 3, 5, 17, 49, 197, 1024, 4096):
        for parameter in TABLES:
            y = softmax(random_rows(rng, 6, tokens), Softmax(parameter.values[0]))
            sums += [row_sum(row) for row in y.tolist()]
    # lowest: two tokens just above S/e = 2.5 (code 2 for 0.4), the rest lost in codes of 15
    table = np.array([1 << 23, 720_000, 850, *[0] * 253])
    y = softmax(np.array([[0, 0, -1, *[-2] * 4093]]), Softmax(table))[0].tolist()
    assert set(y[3:]) == {15} and y[:2] == [2, 2]
    lowest = row_sum(y)
    # highest: one token just below S/e = 1.5, the rest just below 1.5 * 2^10 - 1/2
    table = np.array([1022 * 8000 + 1, 8000, *[0] * 254])
    y = softmax(np.array([[0, *[-1] * 511]]), Softmax(table))[0].tolist()
    assert y[0] == 0 and set(y[1:]) == {10}
    highest = row_sum(y)
    assert 0.5208 * 2**14 < lowest < 0.534 * 2**14
    assert 1.498 * 2**14 < highest < 1.5 * 2**14
    assert len(sums) == 9 * 16 * 6
    assert all(2**13 <= w < 3 * 2**13 for w in [*sums, lowest, highest])


def test_code_to_share_ratio():
    """The lemma of the proof: 2^-code lies within [0.625, 1.5) of e/S for every code below 15."""
    for S in range(1, 900):
        for e in range(max(1, S // 40), S + 1):
            ratio = Fraction(S, e) / 2 ** log_int_softmax_code(e, S)
            assert Fraction(5, 8) < ratio < Fraction(3, 2)
    for code in range(15):  # and at the ends of every code's interval, from both sides
        for end in (Fraction(3 * 2**code - 1, 2), Fraction(max(3 * 2**code // 2 - 1, 2), 2)):
            for nudge in (-1, 0, 1):
                x = max(end + Fraction(nudge, 10**9), Fraction(1))
                c = log_int_softmax_code(x.denominator, x.numerator)
                assert c == 15 or Fraction(5, 8) < x / 2**c < Fraction(3, 2)
    first = Fraction(3 * 2**14 - 1, 2)  # the smallest S/e whose code is 15: a share of 1/24575.5
    assert log_int_softmax_code(first.denominator, first.numerator) == 15
    assert log_int_softmax_code(first.denominator, first.numerator - 1) == 14


def test_row_reciprocal_exhaustive_over_row_sums():
    """Every W in [2^13, 1.5 * 2^14) as a row of codes: floor(2^29 / W)."""
    W = np.arange(2**13, 3 * 2**13)
    # bit b of W is one code of 14 - b; absent bits are codes of 15
    codes = np.stack([np.where(W >> b & 1, 14 - b, 15) for b in range(15)], axis=-1)
    reciprocal, shift = row_reciprocal(codes, LIS4)
    assert reciprocal[:, 0].tolist() == [2**29 // w for w in W.tolist()]
    assert (shift == 15).all()


@pytest.mark.parametrize("codes", [[15, 15], [2, 3, 4, 5], [0, 0]])
def test_row_reciprocal_refuses_sums_that_no_row_has(codes):
    with pytest.raises(OverflowError, match="softmax: row sum"):
        row_reciprocal(np.array([codes]), LIS4)


def test_a_row_masked_everywhere_is_refused():
    mask = np.zeros((2, 3), bool)
    mask[1] = True
    with pytest.raises(ValueError, match="softmax: a row is masked everywhere"):
        softmax(np.zeros((2, 3), np.int8), Softmax(exact_table(0.1)), mask)


def test_more_tokens_than_proven_are_refused():
    with pytest.raises(ValueError, match="at most 4096 tokens are proven, got 4097"):
        softmax(np.zeros((1, 4097), np.int8), Softmax(exact_table(0.1)))


@pytest.mark.parametrize(
    ("x", "error"), [([[0.0]], TypeError), ([[128]], OverflowError), ([[-129]], OverflowError)]
)
def test_scores_that_are_not_int8_are_refused(x, error):
    with pytest.raises(error, match="softmax: score"):
        softmax(np.array(x), Softmax(exact_table(0.1)))


def test_a_mask_that_is_not_boolean_is_refused():
    with pytest.raises(TypeError, match="softmax: mask: expected bool, got int64"):
        softmax(np.zeros((1, 2), np.int8), Softmax(exact_table(0.1)), np.array([0, 1]))


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"table": np.ones(255, int)}, ValueError, "Softmax.table"),
        ({"table": np.ones(256)}, TypeError, "Softmax.table"),
        ({"table": np.full(256, 2**24)}, ValueError, "Softmax.table"),
        ({"table": np.zeros(256, int)}, ValueError, "Softmax.table"),
        ({"table": np.arange(1, 257)}, ValueError, "Softmax.table"),
        ({"mode": "lis8"}, ValueError, "Softmax.mode"),
        ({"row_norm": 1}, TypeError, "Softmax.row_norm"),
        ({"mode": "uniform8"}, ValueError, "Softmax.row_norm"),
    ],
)
def test_parameters_are_checked(change, error, field):
    with pytest.raises(error, match=field):
        Softmax(**({"table": exact_table(0.1), "mode": "lis4", "row_norm": True} | change))
