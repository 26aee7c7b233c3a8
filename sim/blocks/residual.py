"""Bench of residual: golden and random operands in every width that a network uses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fqvit_hw.formats import PTF_MAX, RESIDUAL_MAX_SHIFT, RESIDUAL_MULTIPLIER
from fqvit_hw.rtl.blocks.residual import Residual, ResidualConfig
from fqvit_hw.units import Residual as Parameters
from fqvit_hw.vectors.cases import Case, residual_case

from .golden import golden_cases
from .stream import row_beats
from .transaction import Transaction

CONFIGURATIONS = {
    "lanes1_x8_b8_y8": ResidualConfig(1),
    "lanes5_x8_b8_y8": ResidualConfig(5),
    "lanes16_x8_b8_y8": ResidualConfig(16),
    "lanes5_x8_b16_y8": ResidualConfig(5, 8, 16, 8),
    "lanes16_x8_b16_y8": ResidualConfig(16, 8, 16, 8),
    "lanes5_x16_b16_y16": ResidualConfig(5, 16, 16, 16),
    "lanes16_x16_b16_y16": ResidualConfig(16, 16, 16, 16),
    "lanes5_x8_b16_y16": ResidualConfig(5, 8, 16, 16),  # the embedding of an int16 stream
}
SMALL = ("lanes5_x8_b8_y8", "lanes16_x8_b16_y8", "lanes5_x16_b16_y16")

CONSTANTS = ("x_zero", "branch_zero", "x_multiplier", "branch_multiplier", "shift", "zero")

component = Residual


def transactions(config: ResidualConfig, size: str) -> Iterator[Transaction]:
    """Golden cases of these widths, then random ones at several shifts."""
    widths = (config.x_width, config.branch_width, config.width)
    for case in golden_cases("residual"):
        if tuple(case.tensors[name].format.width for name in ("x", "branch", "y")) == widths:
            yield transaction(config, case)
    rows = 12 if size == "small" else 200
    shifts = (0, 17, RESIDUAL_MAX_SHIFT) if size == "small" else (0, 1, 8, 16, 17, 24, 33, 40)
    for shift in shifts:
        yield transaction(config, random_case(config, shift, rows))


def random_case(config: ResidualConfig, shift: int, rows: int, channels: int = 23) -> Case:
    rng = np.random.default_rng([config.x_width, config.branch_width, config.width, shift])

    def zero(width: int) -> int:
        return int(rng.integers(-128, 128)) if width == 8 else 0

    def factors(width: int) -> np.ndarray:
        return rng.integers(0, PTF_MAX + 1 if width == 8 else 1, channels)

    def multiplier() -> int:  # small ones too, else a small shift saturates everything
        largest = min(RESIDUAL_MULTIPLIER.max, 4 << shift)
        return int(rng.integers(largest // 2, largest + 1))

    def codes(width: int) -> np.ndarray:
        x = rng.integers(-(1 << (width - 1)), 1 << (width - 1), (rows, channels))
        x >>= rng.integers(0, width, x.shape)  # all magnitudes alike
        x[rng.random(x.shape) < 0.05] = -(1 << (width - 1))
        x[rng.random(x.shape) < 0.05] = (1 << (width - 1)) - 1
        return x

    p = Parameters(
        config.x_width, zero(config.x_width), factors(config.x_width), multiplier(),
        config.branch_width, zero(config.branch_width), multiplier(),
        shift, config.width, zero(config.width), factors(config.width),
    )  # fmt: skip
    x, branch = codes(config.x_width), codes(config.branch_width)
    return residual_case(f"random_shift{shift}", p, x, branch)


def transaction(config: ResidualConfig, case: Case) -> Transaction:
    def beats(name: str, fill: int = 0) -> list:
        rows = np.broadcast_to(case[name], case["x"].shape)
        return row_beats(rows, config.lanes, fill).reshape(-1, config.lanes).tolist()

    constants = {name: case.scalar(name) for name in CONSTANTS}
    # padding lanes carry the zeros of the inputs and give that of the output
    columns = (
        beats("x", constants["x_zero"]),
        beats("branch", constants["branch_zero"]),
        beats("x_factor"),
        beats("factor"),
    )
    names = ("x", "branch", "x_factor", "factor")
    inputs = [
        {"lanes": [dict(zip(names, lane, strict=True)) for lane in zip(*beat, strict=True)]}
        for beat in zip(*columns, strict=True)
    ]
    return Transaction(
        case.name,
        {"i": inputs},
        {"o": [{"data": beat} for beat in beats("y", constants["zero"])]},
        constants={"config": constants},
        cycles=len(inputs) - 1 + Residual.latency,
    )
