"""Bench of attention: golden heads, then sizes, masks, biases, saturating scores, all modes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fqvit_hw.attention_codes import MODES
from fqvit_hw.rtl.blocks.attention import Attention, AttentionConfig
from fqvit_hw.rtl.parts.replay import Replay
from fqvit_hw.units import Attention as Parameters
from fqvit_hw.units import Requantize, Softmax
from fqvit_hw.vectors.cases import Case, attention_case
from fqvit_hw.vectors.softmax_corners import nearest

from .golden import golden_cases
from .stream import row_beats
from .transaction import Transaction

CONFIGURATIONS = {
    "4x4": AttentionConfig(4, 4, 50, 16, bias=True),
    "8x16": AttentionConfig(8, 16, 197, 64, modes=tuple(MODES)),
    "16x16": AttentionConfig(16, 16, 197, 64, modes=("max4", "lis4"), shifters=True),
    "6x10": AttentionConfig(6, 10, 50, 20, bias=True, modes=("max4", "lis4", "uniform8")),
    "6x10_lis4": AttentionConfig(6, 10, 50, 20, bias=True, modes=("lis4",)),
    "16x4_one_tile": AttentionConfig(16, 4, 17, 16),
}
SMALL = ("4x4", "6x10")
SHORT = (1, 5, 17)  # tokens of the random heads
LONG = {"16x16": 197}  # of a longer one; elsewhere a window of 50 (Icarus: 100 cycles a second)

component = Attention


def transactions(config: AttentionConfig, size: str) -> Iterator[Transaction]:
    """Golden heads that fit what is built, then random ones."""
    for case in golden_cases("attention"):
        if fits(config, case):
            yield transaction(config, case)
    name = next(name for name, known in CONFIGURATIONS.items() if known == config)
    for tokens in SHORT if size == "small" else (*SHORT, LONG.get(name, 50)):
        for case in random_cases(config, tokens):
            if fits(config, case):
                yield transaction(config, case)


def fits(config: AttentionConfig, case: Case) -> bool:
    tokens, head_dim = case["q"].shape
    return (
        tokens <= config.max_tokens
        and head_dim <= config.head_dim
        and list(MODES)[case.scalar("mode")] in config.modes
        and (config.bias or not case["bias"].any())
    )


def random_cases(config: AttentionConfig, tokens: int) -> Iterator[Case]:
    """The largest head in every mode, a long one in the first; there also a smaller head with masks
    and biases.
    """
    rng = np.random.default_rng([tokens, config.rows, config.cols])
    D, first = config.head_dim, config.modes[0]
    if tokens > 50:  # every query meets every key: a narrow head, else 100 thousand cycles
        narrow = max(D // 8, 1)
        yield random_case(rng, f"random_{tokens}x{narrow}", tokens, narrow, first)
        return
    yield random_case(rng, f"random_{tokens}x{D}", tokens, D, first)
    smaller = max(D * 5 // 8, 1)
    pairs = (tokens, tokens)
    bias = rng.integers(-(2**16), 2**16, pairs) if config.bias else None
    mask = rng.random(pairs) < 0.3
    mask[np.arange(tokens), rng.integers(0, tokens, tokens)] = False  # no row is masked everywhere
    yield random_case(rng, f"masked_{tokens}x{smaller}", tokens, smaller, first, bias, mask)
    if tokens == 50:  # Swin: a 7 x 7 window across the edge of the shifted image, four regions
        row, col = np.divmod(np.arange(49), 7)
        region = 2 * (row < 4) + (col < 4)
        yield random_case(
            rng, "shifted_window", 49, D, first, bias=None if bias is None else bias[:49, :49],
            mask=region[:, None] != region,
        )  # fmt: skip
        return
    for mode in config.modes[1:]:
        yield random_case(rng, f"{mode}_{tokens}x{D}", tokens, D, mode)


def random_case(rng, name, tokens, head_dim, mode, bias=None, mask=None) -> Case:
    """A third of the scores saturate; every fourth channel of v is at its extremes."""
    q, k, v = (rng.integers(-128, 128, (tokens, head_dim)) for _ in "qkv")
    v[:, ::4] = rng.choice([-128, 127], v[:, ::4].shape)
    table = np.round((2**24 - 1) * np.exp(-0.03 * np.arange(256))).astype(np.int64)
    codes = MODES[mode]
    row_norm = codes.of_maximum or (codes.row_sum is not None and tokens % 2 == 1)
    p = Parameters(
        Requantize(np.array(45000), np.array(22 + head_dim.bit_length() // 2), -7, 8),
        Softmax(nearest(table, codes) if codes.of_maximum else table, mode, row_norm),
        Requantize(np.array(60000), np.array(23 if mode == "uniform8" else 29), 5, 8),
    )
    return attention_case(name, p, q, k, v, bias, mask)


def transaction(config: AttentionConfig, case: Case) -> Transaction:
    tokens, head_dim = case["q"].shape
    inputs = {
        name: [{"data": beat.tolist()} for beat in beats(case[name], config.rows, fill=-77)]
        for name in "qkv"  # what the tail lanes of an input row carry must not matter
    }
    with_bias, with_mask = bool(case["bias"].any()), bool(case["mask"].any())
    if config.bias:
        rows = beats(case["bias"], config.cols, fill=-(2**31)) if with_bias else []
        inputs["bias"] = [{"data": beat.tolist()} for beat in rows]
    rows = beats(case["mask"], config.cols, fill=1) if with_mask else []
    inputs["mask"] = [{"data": beat.tolist()} for beat in rows]
    d_tiles = config.d_tiles(head_dim)
    outputs = [
        {"data": beat.tolist(), "last": int(n % d_tiles == d_tiles - 1)}
        for n, beat in enumerate(beats(case["y"], config.rows))
    ]
    layer = {"tokens": tokens, "head_dim": head_dim, "mask": int(with_mask)}
    layer |= {"mode": case.scalar("mode"), "row_norm": case.scalar("row_norm")}
    layer |= {"bias": int(with_bias)} if config.bias else {}
    for name in ("score", "context"):
        fields = ("multiplier", "shift", "zero")
        layer[name] = {field: case.scalar(f"{name}_{field}") for field in fields}
    return Transaction(
        case.name,
        inputs,
        {"o": outputs},
        constants={"config": layer},
        tables={"table": [{"addr": n, "data": int(e)} for n, e in enumerate(case["table"])]},
        flags={"error": 0},
        cycles=cycles(config, tokens, head_dim),
    )


def beats(rows: np.ndarray, lanes: int, fill: int = 0) -> np.ndarray:
    """rows: (N, length) -> (N * beats, lanes)."""
    return row_beats(rows.astype(np.int64), lanes, fill).reshape(-1, lanes)


def cycles(config: AttentionConfig, tokens: int, head_dim: int, heads: int = 1) -> int:
    """From the first beats of q, k and v to the last context beat, everything offered at once.

    The first query waits for the last keys (and for its own way through the row buffer); its last
    d_tiles beats follow them. From then on no cycle is lost.
    """
    d_tiles = config.d_tiles(head_dim)
    keys_in = max(tokens * d_tiles, d_tiles - 1 + Replay.latency)
    first = keys_in + d_tiles - 1 + config.score_latency(tokens)
    rows = (heads * tokens - 1) * config.cycles_per_row(tokens, head_dim)
    return first + rows + (d_tiles - 1) * config.k_tiles(tokens)
