"""Bench of layernorm: golden cases, then sizes, quiet and loud tokens, both input widths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fqvit_hw.formats import LayerNormWidths
from fqvit_hw.rtl.blocks.layernorm import LayerNorm, LayerNormConfig
from fqvit_hw.units import LayerNorm as Parameters
from fqvit_hw.vectors.cases import Case, layernorm_case

from .golden import golden_cases
from .stream import row_beats
from .transaction import Transaction

CONFIGURATIONS = {
    "lanes1_w8": LayerNormConfig(1, 20),
    "lanes4_w8": LayerNormConfig(4, 192),
    "lanes8_w8": LayerNormConfig(8, 384),
    "lanes16_w8": LayerNormConfig(16, 1024),
    "lanes5_w8": LayerNormConfig(5, 100),
    "lanes16_w16": LayerNormConfig(16, 2048, 16),
    "lanes4_w16": LayerNormConfig(4, 100, 16),
}
SMALL = ("lanes8_w8", "lanes4_w16")
CHANNELS = {"small": (1, 5, 64, 100), "full": (1, 5, 12, 64, 100, 192, 384, 1024, 2048)}

component = LayerNorm


def transactions(config: LayerNormConfig, size: str) -> Iterator[Transaction]:
    """Golden cases of this input width that fit, then random and extreme rows of many lengths."""
    for case in golden_cases("layernorm"):
        if case.scalar("width") == config.width and len(case["factor"]) <= config.max_channels:
            yield transaction(config, case)
    for channels in CHANNELS[size]:
        if channels <= config.max_channels:
            rows = 6 if size == "small" else 20
            yield transaction(config, random_case(config.width, channels, rows))
            yield transaction(config, quiet_case(config.width, channels))
            yield transaction(config, loud_case(config.width, channels))
            yield transaction(config, fine_case(config.width, channels))


def parameters(width: int, channels: int, zero: int, eps: int) -> Parameters:
    rng = np.random.default_rng([width, channels])
    ptf = width == 8
    gamma = rng.integers(-(1 << 15), 1 << 15, channels)
    gamma[0], gamma[-1] = -(1 << 15), (1 << 15) - 1
    beta = rng.integers(-(1 << 23), 1 << 23, channels) >> rng.integers(0, 20, channels)
    return Parameters(
        factor=rng.integers(0, 4, channels) if ptf else np.zeros(channels, np.int64),
        zero=zero if ptf else 0,
        width=width,
        eps=eps,
        gamma=gamma >> rng.integers(0, 12, channels),
        gamma_shift=int(rng.integers(0, 16)),
        beta=beta,
        zero_out=int(rng.integers(-128, 128)),
    )


def random_case(width: int, channels: int, rows: int) -> Case:
    """Tokens of all loudnesses, back to back."""
    rng = np.random.default_rng([width, channels, rows])
    x = rng.integers(-(1 << (width - 1)), 1 << (width - 1), (rows, channels))
    x >>= rng.integers(0, width, (rows, 1))
    p = parameters(width, channels, int(rng.integers(-128, 128)), eps=channels)
    return layernorm_case(f"random_{channels}", p, x)


def quiet_case(width: int, channels: int) -> Case:
    """eps' = 0: constant tokens (V = 0), then tokens in which one channel, or half, differ by 1.

    X is constant only where the codes are the zero point, or no factors differ.
    """
    zero = 127 if width == 8 else 0
    x = np.full((6, channels), zero)
    x[1, 0] -= 1
    x[2, channels // 2 :] -= 1
    x[4, -1] -= 1
    x[5] = 3
    return layernorm_case(f"quiet_{channels}", parameters(width, channels, zero, eps=0), x)


def loud_case(width: int, channels: int) -> Case:
    """Half the channels at either end (the largest V), outliers, all at one end; a large eps'."""
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    x = np.full((6, channels), low)
    x[0, : channels // 2] = high
    x[1, ::2] = high
    x[2, 0] = high
    x[3] = high
    x[4, 1:] = high
    w = LayerNormWidths(channels, width)
    eps = min(w.V.max - w.largest_variance, (1 << 48) - 1)
    p = parameters(width, channels, zero=-128, eps=eps if channels % 2 else 0)
    return layernorm_case(f"loud_{channels}", p, x)


def fine_case(width: int, channels: int) -> Case:
    """The largest gamma on channels close to the mean: the last bit of T is worth half a step.

    Two outliers at either end keep the mean near 0 and the deviation large.
    """
    rng = np.random.default_rng([width, channels])
    noise = 1 if width == 8 else 16
    x = rng.integers(-noise, noise + 1, (8, channels)) * (rng.random((8, channels)) < 0.3)
    x[:, 0], x[:, -1] = (1 << (width - 1)) - 1, 1 - (1 << (width - 1))
    p = replace(
        parameters(width, channels, zero=0, eps=0),
        factor=np.where(np.isin(np.arange(channels), (0, channels - 1)) & (width == 8), 3, 0),
        gamma=np.where(np.arange(channels) % 2, (1 << 15) - 1, -(1 << 15)),
        gamma_shift=0,
        beta=np.zeros(channels, np.int64),
        zero_out=0,
    )
    return layernorm_case(f"fine_{channels}", p, x)


def transaction(config: LayerNormConfig, case: Case) -> Transaction:
    rows, channels = case["x"].shape
    # what the tail lanes of an input row carry must not matter
    inputs, outputs = (
        row_beats(case[name].astype(np.int64), config.lanes, fill)
        for name, fill in (("x", -77), ("y", 0))
    )  # (rows, beats, lanes)
    beats = inputs.shape[1]
    table = {
        name: row_beats(case[name][None].astype(np.int64), config.lanes, fill=1)[0].tolist()
        for name in ("factor", "gamma", "beta")
    }  # name -> (beats, lanes)
    params = [
        {"addr": b, "data": [{n: table[n][b][k] for n in table} for k in range(config.lanes)]}
        for b in range(beats)
    ]
    return Transaction(
        case.name,
        {"i": [{"data": beat.tolist()} for beat in inputs.reshape(-1, config.lanes)]},
        {
            "o": [
                {"data": row[b].tolist(), "last": int(b == beats - 1)}
                for row in outputs
                for b in range(beats)
            ]
        },
        constants={
            "config": {"channels": channels}
            | {name: case.scalar(name) for name in ("eps", "zero", "gamma_shift", "zero_out")}
        },
        tables={"params": params},
        cycles=2 * (beats - 1) + (rows - 1) * config.cycles_per_row(channels) + config.latency,
    )
