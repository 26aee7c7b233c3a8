"""Corner cases of softmax: every comparison on both sides and equal, rows that fill every width.

Scores are given as distances from the row's maximum, which is what a row of codes depends on.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..attention_codes import LIS4, MODES, AttentionCodes
from ..formats import EXPONENTIAL, MAX_TOKENS
from ..units import Softmax
from .cases import Case, softmax_case
from .seed import random_state

OF_SUM = [name for name, codes in MODES.items() if not codes.of_maximum]
OF_MAXIMUM = [name for name, codes in MODES.items() if codes.of_maximum]
TOP = EXPONENTIAL.max
THIRD = -(-(2**25) // 3)  # 3 * THIRD = 2^25 + 1, of which a cut leaves next to nothing


def exponentials(step: float) -> np.ndarray:
    """A table that falls by `step` per distance, made from integers: 2^23 * (1 - step)^d."""
    keep, table = round(2**16 * (1 - step)), [1 << 23]
    while len(table) < 256:
        table.append(table[-1] * keep >> 16)
    return np.array(table)


def nearest(exponentials: np.ndarray, codes: AttentionCodes) -> np.ndarray:
    """The codes whose values are nearest to exponentials on the scale of 255 for the first."""
    away = np.abs(np.array(codes.values) * int(exponentials[0]) - 255 * exponentials[:, None])
    return away.argmin(1)


def table(*first: int, rest: int = 0) -> np.ndarray:
    return np.r_[first, np.full(256 - len(first), rest, int)]


def of_mode(mode: str, entries: np.ndarray) -> Softmax:
    return Softmax(entries, mode, row_norm=MODES[mode].row_sum is not None)


def scores(rows: list[list[int]], highest: int = 100) -> np.ndarray:
    """Distances from a maximum of `highest` -> scores; rows are filled up with -128."""
    x = np.full((len(rows), max(map(len, rows))), -128)
    for n, distances in enumerate(rows):
        x[n, : len(distances)] = highest - np.array(distances)
    return x


def softmax_cases() -> Iterator[Case]:
    yield from paper_cases(random_state("softmax"))
    yield threshold_case()
    yield half_way_case()
    for mode in MODES:
        yield from width_cases(mode)
        yield distance_case(mode, random_state(f"softmax distances {mode}"))
    yield from quotient_cases()
    yield from maximum_cases(random_state("softmax of the maximum"))
    yield from sums_cases()


def paper_cases(rng: np.random.RandomState) -> Iterator[Case]:
    """Log-Int-Softmax and uniform8: random, masked, equal, one token."""
    tables = {"slow": exponentials(0.02), "fast": exponentials(0.4)}
    flat = np.full(256, 1 << 23)
    for mode in OF_SUM:
        for speed, entries in tables.items():
            p = of_mode(mode, entries)
            name = f"{mode}_{speed}"
            yield softmax_case(f"{name}_random", p, rng.randint(-128, 128, (8, 17)))
            masked = random_mask(rng)
            yield softmax_case(f"{name}_masked", p, rng.randint(-128, 128, (8, 17)), masked)
        p = of_mode(mode, tables["slow"])
        equal = np.array([[-128], [0], [127]]).repeat(13, 1)
        yield softmax_case(f"{mode}_equal_rows", p, equal)
        ties = np.where(np.arange(13) < np.arange(1, 14)[:, None], 100, -128)  # 1 to 13 maxima
        yield softmax_case(f"{mode}_ties", of_mode(mode, tables["fast"]), ties)
        yield softmax_case(f"{mode}_one_token", p, np.array([[-128], [0], [127]]))
        wide = rng.randint(-128, 128, (3, 50))
        yield softmax_case(f"{mode}_flat_table", of_mode(mode, flat), wide)
    off = Softmax(tables["slow"], "lis4", row_norm=False)
    yield softmax_case("lis4_no_row_norm", off, rng.randint(-128, 128, (4, 17)))


def random_mask(rng: np.random.RandomState) -> np.ndarray:
    """bool (8, 17): no row is masked everywhere, the first one everywhere but once."""
    masked = rng.rand(8, 17) < 0.4
    masked[:, 5] = False
    masked[0] = np.arange(17) != 5
    return masked


def threshold_case() -> Case:
    """S / e at the end of every code of lis4, and S one less and one more.

    Code c + 1 begins at 2S = (3 * 2^c - 1) e (at 3e for c = 0), with equality but for c = 1. The
    table holds powers of two, so that any S can be put together from E[0], e and its other bits.
    """
    top = 15
    powers = table(*(1 << top - d for d in range(top + 1)))
    rows = []
    for c in range(15):
        odd = (3 << c) - 1 if c else 3
        # the least e = 2^(j + 1) for which E[0] and e leave something of S
        j = next(j for j in range(top) if odd << j >= (1 << top) + (2 << j) or j == top - 1)
        for S in ((odd << j) - 1, odd << j, (odd << j) + 1):
            rows.append(sum_of_powers(S, j + 1, top))
    return softmax_case("lis4_thresholds", Softmax(powers), scores(rows))


def half_way_case() -> Case:
    """S / e = 1.5, 2.5, 5.5, 11.5, ... of n tokens of e and one of half of it, or of e too."""
    rows = [[0] * n + [last] for n in (1, 2, 5, 11, 23, 47) for last in (1, 0)]
    return softmax_case("lis4_half_way", Softmax(table(1 << 23, 1 << 22)), scores(rows))


def sum_of_powers(S: int, e: int, top: int) -> list[int]:
    """Distances of a row with the sum S that holds 2^top, at distance 0, and 2^e."""
    bits = [top] if e == top else [top, e]
    rest = S - sum(1 << b for b in bits)
    while rest:
        bits.append(min(rest.bit_length() - 1, top))
        rest -= 1 << bits[-1]
    return [top - b for b in bits]


def width_cases(mode: str) -> Iterator[Case]:
    """Rows of the largest entries: one more token than a power of two, whose sum hardly exceeds
    one too, and the most there are; the last token has a smaller one."""
    codes = MODES[mode]
    few = codes.of_maximum and mode != "max4"
    lengths = (197,) if few else (33, 65, 129, 197, 257, 513, 1025, 2049, MAX_TOKENS)
    p = of_mode(mode, table(0, 1) if codes.of_maximum else table(TOP, 1 << 22))
    for tokens in lengths:
        row = [0] * tokens if tokens == MAX_TOKENS else [0] * (tokens - 1) + [1]
        if codes.of_maximum:  # 2^k + 2^(k - 8) and more: values of 255 fall behind powers of two
            row = [0] * tokens
        yield softmax_case(f"{mode}_{tokens}_tokens", p, scores([row]))
    if not codes.of_maximum:
        p = of_mode(mode, table(TOP, 1 << 23, THIRD, 1, (1 << 23) + 1, rest=TOP))
        rows = [[0], [0, 1], [0, 4], [0, 2], [0, 0, 2, 3], [0, *[1] * 5], [0, *[2] * 11]]
        filled = scores(rows)
        unused = np.arange(filled.shape[1]) >= np.array([[len(row)] for row in rows])
        yield softmax_case(f"{mode}_wide_entries", p, filled, unused)
        third = of_mode(mode, table(THIRD, 1 << 23, 1, rest=THIRD))
        yield softmax_case(f"{mode}_third", third, np.array([[5], [-128]]).repeat(2, 1))


def distance_case(mode: str, rng: np.random.RandomState) -> Case:
    """Every distance 0..255, sixteen a row, in a table without order."""
    codes = MODES[mode]
    largest = codes.format.max if codes.of_maximum else TOP
    entries = np.r_[0 if codes.of_maximum else TOP, rng.randint(0, largest + 1, 255)]
    distances = np.c_[np.zeros(16, int), np.arange(256).reshape(16, 16)]
    x = scores(distances.tolist(), 127)
    return softmax_case(f"{mode}_distances", of_mode(mode, entries), x)


def quotient_cases() -> Iterator[Case]:
    """uniform8: 255 e / S half-way, and so little below that only the exact quotient tells.

    n tokens of E[0] and one of 1: 510 E[0] + S is 2S * (255 / n + 1/2) less at most 510 / n.
    """
    p = of_mode("uniform8", table(TOP, 1, 0))
    for n in (2, 6, 10, 30, 34, 102, 170):
        yield softmax_case(f"uniform8_halves_{n}", p, scores([[0] * n + [2], [0] * n + [1]]))
    yield softmax_case("uniform8_halves_510", p, scores([[0] * 510 + [2], [0] * 510 + [1]]))
    # 255 beside 0, and 255 less half a step
    yield softmax_case("uniform8_ends", p, scores([[0, 1], [0, 2], [0, 1, 1, 1]]))


def maximum_cases(rng: np.random.RandomState) -> Iterator[Case]:
    """The modes of the row's maximum: every code beside it, masks, extremes, odd tables."""
    for mode in OF_MAXIMUM:
        codes = MODES[mode]
        slow, fast = (nearest(exponentials(step), codes) for step in (0.02, 0.4))
        p = Softmax(slow, mode)
        yield softmax_case(f"{mode}_random", p, rng.randint(-128, 128, (8, 17)))
        masked = random_mask(rng)
        yield softmax_case(f"{mode}_masked", p, rng.randint(-128, 128, (8, 17)), masked)
        ends = np.array([[-128, 127], [127, 126], [-127, -128], [-128, -128]]).repeat(3, 1)
        yield softmax_case(f"{mode}_extremes", Softmax(fast, mode), ends)
        any_ = np.r_[0, rng.randint(0, codes.format.max + 1, 255)]  # a table need not fall
        yield softmax_case(
            f"{mode}_any_table", Softmax(any_, mode), rng.randint(-128, 128, (6, 50))
        )
        every = np.minimum(np.arange(256), codes.zero_code)
        pairs = [[0, d] for d in range(codes.zero_code + 1)]
        yield softmax_case(f"{mode}_all_codes", Softmax(every, mode), scores(pairs, 127))


def sums_cases() -> Iterator[Case]:
    """max4: row sums of 2^8 - 1 = 255, 2^8, 2^9 - 1, ... 2^15: the ends of every reciprocal."""
    codes = MODES["max4"]
    every = np.minimum(np.arange(256), codes.zero_code)
    for name, lengths in (("row_sums", range(8, 13)), ("large_row_sums", range(13, 16))):
        rows = [row_of_sum((1 << k) - less, codes) for k in lengths for less in (1, 0)]
        yield softmax_case(f"max4_{name}", Softmax(every, "max4"), scores(rows, -20))


def row_of_sum(W: int, codes: AttentionCodes) -> list[int]:
    """Codes whose values add up to W, the largest first."""
    row = []
    for code, value in enumerate(codes.values):
        if value:
            row += [code] * (W // value)
            W %= value
    return row


assert LIS4.zero_code == 15  # threshold_case counts on c = 0..14
