"""Bench of gelu: golden and random pre-activations; at size "full" all 65,536 of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fqvit_hw.rtl.blocks.gelu import Gelu, GeluConfig
from fqvit_hw.units import Gelu as Parameters
from fqvit_hw.units import Requantize
from fqvit_hw.vectors.cases import Case, gelu_case

from .golden import golden_cases
from .stream import row_beats
from .transaction import Transaction

CONFIGURATIONS = {
    "lanes1_w10": GeluConfig(1, 10),
    "lanes5_w8": GeluConfig(5, 8),
    "lanes5_w12": GeluConfig(5, 12),
    "lanes16_w8": GeluConfig(16, 8),
    "lanes16_w10": GeluConfig(16, 10),
    "lanes16_w12": GeluConfig(16, 12),
}
SMALL = ("lanes1_w10", "lanes5_w8", "lanes16_w12")

component = Gelu


def transactions(config: GeluConfig, size: str) -> Iterator[Transaction]:
    """Golden cases of this index width, then random tables; one lane is too slow for all inputs."""
    for case in golden_cases("gelu"):
        if case.scalar("index_width") == config.index_width:
            yield transaction(config, case)
    for shift in (18,) if size == "small" else (1, 9, 18, 47):
        yield transaction(config, random_case(config, shift))
    if size != "small" and config.lanes > 1:
        every = np.arange(-(2**15), 2**15)
        p = parameters(config, np.random.default_rng(config.index_width), 16)
        yield transaction(config, gelu_case("every_input", p, every.reshape(32, -1)))


def parameters(config: GeluConfig, rng: np.random.Generator, shift: int) -> Parameters:
    """A random table: each wrong address shows."""
    table = rng.integers(-128, 128, 1 << config.index_width)
    multiplier = np.array(rng.integers(1 << 15, 1 << 16))
    linear = Requantize(multiplier, np.array(shift), int(rng.integers(-128, 128)), 8)
    return Parameters(config.index_width, table, linear)


def random_case(config: GeluConfig, shift: int) -> Case:
    rng = np.random.default_rng([config.index_width, shift])
    half = 1 << (config.index_width - 1)
    x = rng.integers(-half, half, (12, 37))
    x[::2] = rng.integers(-(2**15), 2**15, x[::2].shape) >> rng.integers(0, 8, x[::2].shape)
    x[0, :6] = -(2**15), -half - 1, -half, half - 1, half, 2**15 - 1
    return gelu_case(f"random_shift{shift}", parameters(config, rng, shift), x)


def transaction(config: GeluConfig, case: Case) -> Transaction:
    table = case["table"]
    # padding lanes carry 0 and give the table's code of 0
    x = row_beats(case["x"], config.lanes).reshape(-1, config.lanes)
    y = row_beats(case["y"], config.lanes, int(table[len(table) // 2])).reshape(-1, config.lanes)
    return Transaction(
        case.name,
        {"i": [{"data": beat} for beat in x.tolist()]},
        {"o": [{"data": beat} for beat in y.tolist()]},
        constants={"config": {name: case.scalar(name) for name in ("multiplier", "shift", "zero")}},
        tables={"table": [{"addr": n, "data": entry} for n, entry in enumerate(table.tolist())]},
        cycles=len(x) - 1 + Gelu.latency,
    )
