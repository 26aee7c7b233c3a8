"""Bench of requantize: golden and random accumulators, output widths 8 to 32."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fqvit_hw.rtl.blocks.requantize import Requantize, RequantizeConfig
from fqvit_hw.units import Requantize as Parameters
from fqvit_hw.vectors.cases import Case, requantize_case

from .golden import golden_cases
from .stream import row_beats
from .transaction import Transaction

CONFIGURATIONS = {
    "lanes1_w8": RequantizeConfig(1),
    "lanes5_w8": RequantizeConfig(5),
    "lanes16_w8": RequantizeConfig(16),
    "lanes4_w10": RequantizeConfig(4, 10),
    "lanes4_w12": RequantizeConfig(4, 12),
    "lanes8_w16": RequantizeConfig(8, 16),
    "lanes2_w32": RequantizeConfig(2, 32),
}
SMALL = ("lanes5_w8", "lanes8_w16")

component = Requantize


def transactions(config: RequantizeConfig, size: str) -> Iterator[Transaction]:
    """Golden cases of this output width, then random ones of several channel counts."""
    for case in golden_cases("requantize"):
        if case.scalar("width") == config.width:
            yield transaction(config, case)
    channels = (1, 7, 64) if size == "small" else (1, 7, 64, 192, 197)
    for n in channels:
        yield transaction(config, random_case(config.width, n, rows=12 if size == "small" else 40))


def random_case(width: int, channels: int, rows: int) -> Case:
    rng = np.random.default_rng([width, channels])
    scale = rng.integers(0, 32, (rows, channels))  # all magnitudes of accumulator alike
    acc = rng.integers(-(2**31), 2**31, (rows, channels)) >> scale
    acc[0], acc[-1] = -(2**31), 2**31 - 1
    p = Parameters(
        np.where(rng.random(channels) < 0.1, 0, rng.integers(1 << 15, 1 << 16, channels)),
        rng.integers(1, 48, channels),
        int(rng.integers(-128, 128)),
        width,
    )
    return requantize_case(f"random_{channels}", p, acc)


def transaction(config: RequantizeConfig, case: Case) -> Transaction:
    acc = case["acc"]
    beats, expected = (row_beats(case[name], config.lanes) for name in ("acc", "y"))
    # padding lanes carry the parameters 0: their product and so their output is the zero point
    multiplier, shift = (
        row_beats(np.broadcast_to(case[name], acc.shape[1:])[None], config.lanes)[0]
        for name in ("multiplier", "shift")
    )
    real = row_beats(np.ones_like(acc), config.lanes)
    zero = case.scalar("zero")
    inputs = [
        {
            "lanes": [
                {"acc": int(a), "multiplier": int(m), "shift": max(int(s), 1)}
                for a, m, s in zip(beat, multiplier[b], shift[b], strict=True)
            ],
            "zero": zero,
        }
        for row in beats
        for b, beat in enumerate(row)
    ]
    flat = np.where(real, expected, zero).reshape(-1, config.lanes)
    outputs = [{"data": [int(y) for y in beat]} for beat in flat]
    return Transaction(
        case.name,
        {"i": inputs},
        {"o": outputs},
        cycles=len(inputs) - 1 + Requantize.latency,
    )
