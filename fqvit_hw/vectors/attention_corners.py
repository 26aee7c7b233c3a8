"""Corner cases of attention and of what the array does for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..attention_codes import MODES
from ..units import Attention, Requantize, Softmax, attention
from .cases import Case, attention_case
from .seed import random_state
from .softmax_corners import exponentials, nearest, table


def scalar_requantize(multiplier: int, shift: int, zero: int, width: int = 8) -> Requantize:
    return Requantize(np.array(multiplier), np.array(shift), zero, width)


# acc * 1.0, and acc * 0.5: every odd accumulator is a tie
ONE, HALF = scalar_requantize(1 << 15, 15, 0), scalar_requantize(1 << 15, 16, 0)


def attention_of(mode: str, entries: np.ndarray, score=ONE, context=None, row_norm=None):
    """entries: exponentials, of which a mode of the maximum takes the nearest codes."""
    codes = MODES[mode]
    if codes.of_maximum:
        entries = nearest(entries, codes)
    row_norm = codes.row_sum is not None if row_norm is None else row_norm
    # a context of half of v's steps
    context = context or scalar_requantize(33000, 23 if mode == "uniform8" else 30, -4)
    return Attention(score, Softmax(entries, mode, row_norm), context)


def attention_cases() -> Iterator[Case]:
    yield from random_cases(random_state("attention"))
    for mode in ("lis4", "max4"):
        rng = random_state(f"attention {mode}")
        yield from pair_cases(mode, rng)
        yield from score_cases(mode, rng)
        yield tie_case(mode)
        yield half_case(mode)
    for mode, tokens in (("lis4", 37), ("max4", 37), ("uniform8", 37), ("max4", 137)):
        yield extreme_case(mode, tokens, random_state(f"attention extremes {mode} {tokens}"))


def random_cases(rng: np.random.RandomState) -> Iterator[Case]:
    for name, n, d, mode, row_norm in (
        ("one_token", 1, 16, "lis4", True),
        ("random", 5, 16, "lis4", True),
        ("no_row_norm", 17, 16, "lis4", False),
        ("uniform8", 17, 16, "uniform8", False),
        ("bias_and_mask", 9, 8, "lis4", True),
        ("max4", 17, 16, "max4", True),
        ("max4_bias_and_mask", 9, 8, "max4", True),
        ("max3", 5, 16, "max3", True),
        ("max5", 5, 16, "max5", True),
        ("max8", 5, 16, "max8", True),
    ):
        context = scalar_requantize(50000, 23 if mode == "uniform8" else 29, -4)
        score = scalar_requantize(40000, 24, 3)
        p = attention_of(mode, exponentials(0.05), score, context, row_norm)
        q, k, v = (rng.randint(-128, 128, (n, d)) for _ in "qkv")
        bias = mask = None
        if name.endswith("bias_and_mask"):
            bias = rng.randint(-(2**14), 2**14, (n, n))
            mask = (np.arange(n)[:, None] < 4) != (np.arange(n) < 4)  # two windows in one
        yield attention_case(name, p, q, k, v, bias, mask)


def pair_cases(mode: str, rng: np.random.RandomState) -> Iterator[Case]:
    """Mask and bias of (query, key) that are not those of (key, query); biases of every length."""
    p = attention_of(mode, exponentials(0.1), scalar_requantize(40000, 22, 3))
    q, k, v = (rng.randint(-128, 128, (9, 4)) for _ in "qkv")
    bias, mask = rng.randint(-(2**14), 2**14, (9, 9)), rng.rand(9, 9) < 0.4
    mask[np.arange(9), np.arange(9)[::-1]] = False
    yield attention_case(f"{mode}_one_sided_mask", p, q, k, v, bias, mask)
    # row n: one pair of the bias 2^(15 + n), then of -2^(15 + n)
    n = np.arange(32)
    bias = rng.randint(-(2**12), 2**12, (32, 32))
    bias[n, n * 7 % 32] = np.where(n < 16, 1, -1) * (1 << 15 + n % 16)
    q, k = (rng.randint(-16, 16, (32, 2)) for _ in "qk")
    v = rng.randint(-128, 128, (32, 2))
    yield attention_case(f"{mode}_long_biases", p, q, k, v, bias)


def score_cases(mode: str, rng: np.random.RandomState) -> Iterator[Case]:
    """Accumulators half-way between scores, and scores about both ends of int8."""
    steep = exponentials(0.3)
    q, k = np.arange(-8, 8)[:, None], rng.randint(-11, 12, (16, 1))
    v = rng.randint(-128, 128, (16, 3))
    yield one_channel(f"{mode}_score_ties", attention_of(mode, steep, HALF), q, k, v)
    for end, zero in (("low", -128), ("high", 127)):
        p = attention_of(mode, steep, scalar_requantize(1 << 15, 15, zero))
        near = rng.randint(-2, 3, (9, 1))
        yield one_channel(f"{mode}_{end}_scores", p, near, near[::-1], v[:9])


def one_channel(name: str, p: Attention, q, k, v, **more) -> Case:
    """q, k: (N, 1), of the channels that v has the first; the others are 0."""
    q, k = (np.pad(x, ((0, 0), (0, v.shape[1] - 1))) for x in (q, k))
    return attention_case(name, p, q, k, v, **more)


def tie_case(mode: str) -> Case:
    """Normalized sums half-way between two integers, seen through the context's requantize.

    lis4: codes 1 and 2, W = 12288, recip = 43690, and sums of +-8192: +-10922.5. max4: two of the
    same score, W = 510, recip = 32896, and sums of +-1020: +-32767.5.
    """
    below = 10922 if mode == "lis4" else 32767
    entries = table(2, 1) if mode == "lis4" else exponentials(0.3)
    p = attention_of(mode, entries, context=boundary_between(below, below + 1))
    q = np.ones((2, 1), int)
    k = np.array([[1], [0]]) if mode == "lis4" else q
    v = [[1, -1, 0, 0], [0, 0, 2, -2]] if mode == "lis4" else [[2, -2, 1, -7], [2, -2, 3, 3]]
    return one_channel(f"{mode}_context_ties", p, q, k, np.array(v))


def half_case(mode: str) -> Case:
    """One pair of each row alone, and contexts half-way between two codes: halves of 1 and -1."""
    p = attention_of(mode, exponentials(0.1), context=scalar_requantize(1 << 15, 30, 0))
    q = np.ones((4, 1), int)
    v = np.array([[1, -1], [-1, 1], [2, 0], [0, -128]])
    return one_channel(f"{mode}_context_halves", p, q, q, v, mask=~np.eye(4, dtype=bool))


def extreme_case(mode: str, tokens: int, rng: np.random.RandomState) -> Case:
    """Equal scores in the even rows, v at both ends: the longest sums of products.

    37 equal tokens have codes of 5 in lis4 and a row sum of 1.16; 135 of max4, with two more
    masked, have one of 16 bits and accumulators of 24, as 197 have. A reciprocal for L = 15 differs
    for both, and the context of the second channel shows it.
    """
    q, k = rng.randint(-20, 20, (2, tokens, 2))
    q[::2] = 0
    ends = np.where(np.arange(tokens) % 2, -128, 127)
    v = np.c_[np.full(tokens, -128), np.full(tokens, 127), rng.randint(-128, 128, tokens), ends]
    q, k = np.c_[q, np.zeros((tokens, 2), int)], np.c_[k, np.zeros((tokens, 2), int)]
    mask = np.zeros((tokens, tokens), bool)
    mask[::2, -2:] = tokens == 137
    p = attention_of(mode, exponentials(0.1), scalar_requantize(40000, 19, 3))
    if p.softmax.row_norm:
        seen = {}
        attention(q, k, v, p, mask=mask, record=seen.__setitem__)
        right = int(seen["context.normalized"][0, 1])
        near = right + 8 if mode == "lis4" else right - 8  # towards what L = 15 gives
        p = replace(p, context=boundary_between(*sorted((right, near))))
    return attention_case(f"{mode}_extremes_{tokens}", p, q, k, v, mask=mask)


def boundary_between(low: int, high: int) -> Requantize:
    """M and N whose products with `low` and `high` lie on both sides of half an output step."""
    for shift in range(24, 40):
        for step in range(1, 100):
            half = (2 * step + 1) << (shift - 1)
            M = half // low  # the largest with M * low <= half
            if 1 << 15 <= M < 1 << 16 and M * low < half < M * high:
                return scalar_requantize(M, shift, 0)
    raise ValueError(f"no step of the context lies between {low} and {high}")
