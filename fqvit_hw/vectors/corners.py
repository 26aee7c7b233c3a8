"""Corner cases of every unit: extremes, ties, constant and single-element rows, masks, and random.

Those of softmax and attention are in modules of their own. tests/vectors/variants holds wrong
designs that these cases must tell from the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..attention_codes import BOOKS
from ..blocks import BLOCKS
from ..formats import ACC, MAX_TOKENS
from ..units import Gelu, LayerNorm, Linear, Requantize, Residual
from .attention_corners import attention_cases as attention_cases
from .attention_corners import scalar_requantize
from .cases import (
    Case,
    bitshift_case,
    gelu_case,
    layernorm_case,
    matmul_case,
    requantize_case,
    residual_case,
)
from .seed import random_state
from .softmax_corners import softmax_cases as softmax_cases

EXTREMES8 = np.array([-128, -127, -1, 0, 1, 126, 127])


def requantize_cases() -> Iterator[Case]:
    rng = random_state("requantize")
    for width in (8, 10, 12, 16, 32):
        channels = 24
        p = Requantize(
            np.r_[0, 1 << 15, (1 << 16) - 1, rng.randint(1 << 15, 1 << 16, channels - 3)],
            np.r_[1, 47, 15, rng.randint(1, 48, channels - 3)],
            int(rng.randint(-128, 128)),
            width,
        )
        acc = rng.randint(-(2**31), 2**31, (10, channels)) >> rng.randint(0, 31, (10, channels))
        yield requantize_case(f"random_w{width}", p, acc)
        extremes = np.array([-(2**31), 2**31 - 1, -1, 0, 1])
        yield requantize_case(f"extremes_w{width}", p, np.repeat(extremes[:, None], channels, 1))
    # odd multiples of half a step: every product is a tie, rounded towards +inf
    ties = np.arange(-9, 10, 2)[:, None]
    yield requantize_case("ties", scalar_requantize(1 << 15, 16, 0), ties)


def mac_array_cases() -> Iterator[Case]:
    rng = random_state("mac_array")
    for n, k, o in ((1, 1, 1), (1, 5, 3), (5, 17, 9), (17, 37, 21)):
        p = Linear(rng.randint(-128, 128, (o, k)), rng.randint(-(2**20), 2**20, o))
        yield matmul_case(f"random_{n}x{k}x{o}", p, rng.randint(-128, 128, (n, k)))
    sign = np.array([-128, 127])
    p = Linear(np.repeat(sign, 3)[:, None] * np.ones((1, 16), int), np.zeros(6, int))
    yield matmul_case("extremes_int8", p, np.repeat(sign[:, None], 16, 1))
    yield matmul_case("extremes_uint8", p, np.full((2, 16), 255))
    codes = np.arange(16)[None].repeat(3, 0)
    yield bitshift_case("all_codes", codes, np.tile(EXTREMES8, (16, 1)))
    yield bitshift_case("one_token", np.array([[0]]), EXTREMES8[None])
    yield bitshift_case("nothing", np.full((2, 5), 15), rng.randint(-128, 128, (5, 4)))
    rows = np.sort(rng.randint(4, 16, (9, 33)), axis=1)  # light weights: any row sum fits
    yield bitshift_case("random_9x33x10", rows, rng.randint(-128, 128, (33, 10)))
    yield from long_sum_cases(random_state("mac_array sums"))


def long_sum_cases(rng: np.random.RandomState) -> Iterator[Case]:
    """Sums as long as they come, in every kind of operand."""
    # biases that fill what products leave of int32: up to both of its ends, and every length below
    weight = np.where(np.arange(8)[:, None] % 2, -128, 127) * np.ones((8, 5), int)
    weight[4:] = rng.randint(-128, 128, (4, 5))
    room = ACC.max - 255 * np.abs(weight).sum(1)
    for name, a in (
        ("int8", np.repeat([[-128], [127], [0]], 5, 1)),
        ("uint8", np.r_[np.full((1, 5), 255), rng.randint(0, 256, (2, 5))]),
    ):
        yield matmul_case(f"room_{name}", Linear(weight, room * np.tile([1, -1], 4)), a)
    lengths = np.arange(20, 32)[:, None] - [0, 1]
    bias = np.array([1, -1]) * (1 << lengths - 1) - [0, 1]  # 2^19, -2^18 - 1, 2^20, ...
    p = Linear(rng.randint(-128, 128, (24, 3)), np.minimum(bias.reshape(-1), ACC.max - 2**20))
    yield matmul_case("bias_lengths", p, rng.randint(-128, 128, (2, 3)))
    # attention x V of the largest values, for as many tokens as an image of 224 x 224 has, and most
    ends = np.array([-128, 127])
    for tokens in (197, MAX_TOKENS):
        p = Linear(np.repeat(ends[:, None], tokens, 1), np.zeros(2, int))
        yield matmul_case(f"values_{tokens}", p, np.full((1, tokens), 255))
    v = Linear(rng.randint(-128, 128, (6, 33)), np.zeros(6, int))
    yield matmul_case("values_random", v, np.array(BOOKS[4])[rng.randint(0, 16, (5, 33))])
    # BitShift: each code alone; the longest sums that 23 bits hold, and that a row of softmax has
    alone = np.where(np.eye(16, dtype=bool), np.arange(16), 15)
    yield bitshift_case("codes_alone", alone, np.stack([rng.permutation(EXTREMES8)] * 16))
    longest = np.array([[0, *range(1, 15), 15], [3] * 11 + [15] * 5])
    yield bitshift_case("longest", longest, np.repeat([[-128, 127, -127, 1]], 16, 0))
    rows = np.sort(rng.randint(7, 16, (2, 197)), axis=1)
    yield bitshift_case("random_2x197x5", rows, rng.randint(-128, 128, (197, 5)))


def layernorm_cases() -> Iterator[Case]:
    rng = random_state("layernorm")

    def parameters(channels: int, width: int, zero: int, eps: int) -> LayerNorm:
        factor = rng.randint(0, 4, channels) if width == 8 else np.zeros(channels, int)
        return LayerNorm(
            factor, zero, width, eps, rng.randint(-(2**15), 2**15, channels),
            int(rng.randint(8, 12)), rng.randint(-(2**16), 2**16, channels),
            int(rng.randint(-128, 128)),
        )  # fmt: skip

    for channels, width in ((1, 8), (5, 8), (64, 8), (100, 8), (5, 16), (64, 16)):
        top = 1 << (width - 1)
        p = parameters(channels, width, int(rng.randint(-128, 128)) if width == 8 else 0, 77)
        loud = rng.randint(-top, top, (6, channels))
        half = np.where(np.arange(channels) % 2, top - 1, -top)[None]  # the largest variance
        constant = np.array([[-top], [0], [top - 1]]).repeat(channels, 1)
        quiet = rng.randint(0, 2, (3, channels))
        rows = np.concatenate([loud, half, constant, quiet])
        yield layernorm_case(f"channels{channels}_w{width}", p, rows)
    # eps' = 0: V = 0 on a constant token, V = 1 upwards on a nearly constant one
    p = LayerNorm(
        np.zeros(16, int), 3, 8, 0, np.full(16, 20000), 10, np.arange(-8, 8) * 1024, -5
    )  # fmt: skip
    rows = np.full((4, 16), 3)
    rows[1, 0], rows[2, :8], rows[3, 15] = 4, 2, 2
    yield layernorm_case("constant_tokens", p, rows)


def gelu_cases() -> Iterator[Case]:
    rng = random_state("gelu")
    for width in (8, 10, 12):
        half = 1 << (width - 1)
        index = np.arange(-half, half)
        # any table would do; this one has GELU's shape, in integers
        table = np.clip(np.where(index < 0, index >> 5, index) >> (width - 7), -128, 127)
        p = Gelu(width, table, scalar_requantize(1 << 15, 8 + width, -100))
        edges = [-(2**15), -half - 1, -half, -1, 0, 1, half - 1, half, half + 1, 2**15 - 1]
        x = np.r_[edges, rng.randint(-2 * half, 2 * half, 150)].reshape(8, 20)
        yield gelu_case(f"index{width}", p, x)


def residual_cases() -> Iterator[Case]:
    rng = random_state("residual")
    for x_width, y_width, width in ((8, 8, 8), (8, 16, 8), (16, 16, 16), (8, 16, 16)):
        channels = 20

        def zero(bits: int) -> int:
            return int(rng.randint(-128, 128)) if bits == 8 else 0

        def factors(bits: int, n: int = channels) -> np.ndarray:
            return rng.randint(0, 4, n) if bits == 8 else np.zeros(n, int)

        p = Residual(
            x_width, zero(x_width), factors(x_width), int(rng.randint(1 << 17)),
            y_width, zero(y_width), int(rng.randint(1 << 17)), 17, width, zero(width),
            factors(width),
        )  # fmt: skip
        x_top, y_top = 1 << (x_width - 1), 1 << (y_width - 1)
        x = rng.randint(-x_top, x_top, (8, channels))
        y = rng.randint(-y_top, y_top, (8, channels))
        x[0], x[1], y[0], y[1] = -x_top, x_top - 1, -y_top, y_top - 1
        x[2], y[2] = -x_top, y_top - 1
        yield residual_case(f"x{x_width}_branch{y_width}_y{width}", p, x, y)
    # shift 0 and 40, multipliers 0 and 2^17 - 1
    for name, shift, m in (("shift0", 0, 1), ("shift40", 40, (1 << 17) - 1), ("zero", 5, 0)):
        none = np.zeros(4, int)
        p = Residual(8, 0, none, m, 8, 0, m, shift, 8, 0, none)
        yield residual_case(name, p, *(rng.randint(-128, 128, (3, 4)) for _ in "xy"))


# The unit of every block that has one, in the order of the golden vectors.
CORNERS: dict[str, Callable[[], Iterator[Case]]] = {
    block.golden: globals()[block.corners] for block in BLOCKS.values() if block.corners
}
