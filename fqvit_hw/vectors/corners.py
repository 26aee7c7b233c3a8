"""Corner cases of every unit: extremes, ties, constant and single-element rows, masks, and random.

RandomState is used on purpose: its stream is frozen, so that the vectors are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..attention_codes import MODES, AttentionCodes
from ..blocks import BLOCKS
from ..units import Attention, Gelu, LayerNorm, Linear, Requantize, Residual, Softmax
from .cases import (
    Case,
    attention_case,
    bitshift_case,
    gelu_case,
    layernorm_case,
    matmul_case,
    requantize_case,
    residual_case,
    softmax_case,
)

SEED = 2111
EXTREMES8 = np.array([-128, -127, -1, 0, 1, 126, 127])


def random_state(unit: str) -> np.random.RandomState:
    """One stream per unit, so that a new case in one changes no other's vectors."""
    return np.random.RandomState([SEED, *unit.encode()])


def scalar_requantize(multiplier: int, shift: int, zero: int, width: int = 8) -> Requantize:
    return Requantize(np.array(multiplier), np.array(shift), zero, width)


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


def exponentials(step: float) -> np.ndarray:
    """A table that falls by `step` per distance, made from integers: 2^23 * (1 - step)^d."""
    keep, table = round(2**16 * (1 - step)), [1 << 23]
    while len(table) < 256:
        table.append(table[-1] * keep >> 16)
    return np.array(table)


def softmax_cases() -> Iterator[Case]:
    rng = random_state("softmax")
    tables = {"slow": exponentials(0.02), "fast": exponentials(0.4)}
    flat = np.full(256, 1 << 23)
    for mode in ("lis4", "uniform8"):
        for speed, table in tables.items():
            p = Softmax(table, mode, row_norm=mode == "lis4")
            name = f"{mode}_{speed}"
            yield softmax_case(f"{name}_random", p, rng.randint(-128, 128, (8, 17)))
            masked = rng.rand(8, 17) < 0.4
            masked[:, 5] = False
            masked[0] = np.arange(17) != 5  # all but one
            yield softmax_case(f"{name}_masked", p, rng.randint(-128, 128, (8, 17)), masked)
        p = Softmax(tables["slow"], mode, row_norm=mode == "lis4")
        equal = np.array([[-128], [0], [127]]).repeat(13, 1)
        yield softmax_case(f"{mode}_equal_rows", p, equal)
        ties = np.where(np.arange(13) < np.arange(1, 14)[:, None], 100, -128)  # 1 to 13 maxima
        yield softmax_case(f"{mode}_ties", Softmax(tables["fast"], mode, p.row_norm), ties)
        yield softmax_case(f"{mode}_one_token", p, np.array([[-128], [0], [127]]))
        yield softmax_case(f"{mode}_flat_table", Softmax(flat, mode, p.row_norm),
                           rng.randint(-128, 128, (3, 50)))  # fmt: skip
    off = Softmax(tables["slow"], "lis4", row_norm=False)
    yield softmax_case("lis4_no_row_norm", off, rng.randint(-128, 128, (4, 17)))
    yield from maximum_cases(random_state("softmax of the maximum"))


def maximum_cases(rng: np.random.RandomState) -> Iterator[Case]:
    """The modes of the row's maximum: every code, row sums at both ends of their lengths."""
    for mode, codes in MODES.items():
        if not codes.of_maximum:
            continue
        slow, fast = (nearest(exponentials(step), codes) for step in (0.02, 0.4))
        p = Softmax(slow, mode)
        yield softmax_case(f"{mode}_random", p, rng.randint(-128, 128, (8, 17)))
        masked = rng.rand(8, 17) < 0.4
        masked[:, 5] = False
        masked[0] = np.arange(17) != 5  # all but one
        yield softmax_case(f"{mode}_masked", p, rng.randint(-128, 128, (8, 17)), masked)
        ends = np.array([[-128, 127], [127, 126], [-127, -128]]).repeat(3, 1)
        yield softmax_case(f"{mode}_extremes", Softmax(fast, mode), ends)
        any_ = np.r_[0, rng.randint(0, codes.format.max + 1, 255)]  # a table need not fall
        yield softmax_case(
            f"{mode}_any_table", Softmax(any_, mode), rng.randint(-128, 128, (6, 50))
        )
    # the row's maximum, and others that bring the sum beside 2^8, 2^9, ..., 2^14
    rows = np.full((14, 70), -128)
    for n in range(7):
        rows[2 * n, : 1 << n] = 0
        rows[2 * n + 1, : (1 << n) + 1] = 0
    rows[:, -1] = np.arange(14) - 10
    yield softmax_case(
        "max4_lengths", Softmax(nearest(exponentials(0.3), MODES["max4"]), "max4"), rows
    )


def nearest(exponentials: np.ndarray, codes: AttentionCodes) -> np.ndarray:
    """The codes whose values are nearest to exponentials on the scale of 255 for the first."""
    away = np.abs(np.array(codes.values) * int(exponentials[0]) - 255 * exponentials[:, None])
    return away.argmin(1)


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


def attention_cases() -> Iterator[Case]:
    rng = random_state("attention")
    for name, n, d, mode, row_norm in (
        ("one_token", 1, 16, "lis4", True),
        ("random", 5, 16, "lis4", True),
        ("no_row_norm", 17, 16, "lis4", False),
        ("uniform8", 17, 16, "uniform8", False),
        ("bias_and_mask", 9, 8, "lis4", True),
        ("max4", 17, 16, "max4", True),
        ("max4_bias_and_mask", 9, 8, "max4", True),
        ("max5", 5, 16, "max5", True),
    ):
        codes, table = MODES[mode], exponentials(0.05)
        p = Attention(
            scalar_requantize(40000, 24, 3),
            Softmax(nearest(table, codes) if codes.of_maximum else table, mode, row_norm),
            scalar_requantize(50000, 23 if mode == "uniform8" else 29, -4),
        )
        q, k, v = (rng.randint(-128, 128, (n, d)) for _ in "qkv")
        bias = mask = None
        if name.endswith("bias_and_mask"):
            bias = rng.randint(-(2**14), 2**14, (n, n))
            mask = (np.arange(n)[:, None] < 4) != (np.arange(n) < 4)  # two windows in one
        yield attention_case(name, p, q, k, v, bias, mask)


# The unit of every block that has one, in the order of the golden vectors.
CORNERS: dict[str, Callable[[], Iterator[Case]]] = {
    block.golden: globals()[block.corners] for block in BLOCKS.values() if block.corners
}
