"""Bench of softmax: golden cases, then sizes, ties, masks and extremes in both modes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fqvit_hw.formats import ROW_NORM_SHIFT, ZERO_CODE
from fqvit_hw.rtl.blocks.softmax import Softmax, SoftmaxConfig
from fqvit_hw.units import Softmax as Parameters
from fqvit_hw.vectors.cases import Case, Tensor, softmax_case

from .golden import golden_cases
from .stream import row_beats
from .transaction import Transaction

CONFIGURATIONS = {
    "lanes1": SoftmaxConfig(1, 24),
    "lanes4": SoftmaxConfig(4, 50),
    "lanes4_uniform8": SoftmaxConfig(4, 64, uniform8=True),
    "lanes5": SoftmaxConfig(5, 100),
    "lanes8": SoftmaxConfig(8, 197),
    "lanes8_uniform8": SoftmaxConfig(8, 197, uniform8=True),
    "lanes16": SoftmaxConfig(16, 256),
    "lanes16_uniform8": SoftmaxConfig(16, 4096, uniform8=True),
}
SMALL = ("lanes4", "lanes8_uniform8")
TOKENS = {"small": (1, 5, 17, 50), "full": (1, 5, 17, 50, 100, 197, 1024)}

D = np.arange(256)
TOP = (1 << 24) - 1
TABLES = {
    "exact": np.round(2.0**23 * np.exp(-0.11 * D)).astype(np.int64),
    # i-exp: I-BERT's polynomial in integers, scale 0.08
    "i_exp": ((-(D % 9) * (-(D % 9) + 33) + 436) << 15) >> (D // 9),
    "steep": np.where(D < 9, TOP >> 2 * np.minimum(D, 8), 0),  # every code, zeros at the end
    "flat": np.full(256, TOP),  # the largest sums
    "small": np.where(D < 40, 2 - D % 2, 0),  # 2S / e is full of ties
}

component = Softmax


def transactions(config: SoftmaxConfig, size: str) -> Iterator[Transaction]:
    """Golden cases that fit, then rows of many lengths and tables; a row masked everywhere last."""
    for case in golden_cases("softmax"):
        if case["x"].shape[1] <= config.max_tokens and (config.uniform8 or lis4(case)):
            yield transaction(config, case)
    modes = ("lis4", "uniform8") if config.uniform8 else ("lis4",)
    lengths = [n for n in TOKENS[size] if n <= config.max_tokens]
    for mode in modes:
        for n, tokens in enumerate(lengths):
            few = size == "small" or tokens > 200
            chosen = list(TABLES)[n % len(TABLES) :: 3] if few else TABLES
            for table in chosen:
                p = Parameters(TABLES[table], mode, row_norm=mode == "lis4")
                yield transaction(config, random_case(f"{table}_{mode}", p, tokens))
        p = Parameters(TABLES["exact"], mode, row_norm=False)
        yield transaction(config, random_case(f"no_row_norm_{mode}", p, lengths[-1]))
        p = Parameters(TABLES["exact"], mode, row_norm=mode == "lis4")
        yield transaction(config, masked_case(mode, p, min(17, config.max_tokens)))


def lis4(case: Case) -> bool:
    return not case.scalar("uniform8")


def random_case(name: str, p: Parameters, tokens: int) -> Case:
    """Rows back to back: extremes, all equal, all pairs but the first or last one left out, wide
    and narrow random rows with and without masks."""
    rng = np.random.default_rng([tokens, *name.encode()])
    rows = 14 if tokens < 200 else 9
    x = rng.integers(-128, 128, (rows, tokens)) >> rng.integers(0, 7, (rows, 1))
    x[0], x[1, 0] = -128, 127
    x[2], x[2, -1] = -128, 127
    x[3], x[4] = 127, np.where(np.arange(tokens) % 2, 3, 4)
    keep = rng.random((rows, tokens)) < rng.choice([0.1, 0.7, 1], (rows, 1))
    keep[:5] = True
    keep[:, rng.integers(tokens)] = True
    keep[5] = np.arange(tokens) == 0
    keep[6] = np.arange(tokens) == tokens - 1
    keep[7] = np.arange(tokens) == tokens // 2
    keep[8], keep[8, 0], keep[8, -1] = True, tokens < 3, tokens < 3
    return softmax_case(f"{name}_{tokens}", p, x, ~keep)


def masked_case(mode: str, p: Parameters, tokens: int) -> Case:
    """A row masked everywhere among others, which the Python unit refuses: codes 15, or 0 in
    uniform8, reciprocal 1.0 (2^15)."""
    x = np.arange(3 * tokens).reshape(3, tokens) * 37 % 256 - 128
    case = softmax_case(f"masked_everywhere_{mode}", p, x)
    mask, y, reciprocal = (case[n].copy() for n in ("mask", "y", "reciprocal"))
    mask[1], y[1], reciprocal[1] = 1, ZERO_CODE if mode == "lis4" else 0, 1 << ROW_NORM_SHIFT
    changed = {"mask": mask, "y": y, "reciprocal": reciprocal}
    tensors = {
        name: Tensor(t.role, changed.get(name, t.data), t.format)
        for name, t in case.tensors.items()
    }
    return Case(case.unit, case.name, tensors)


def transaction(config: SoftmaxConfig, case: Case) -> Transaction:
    rows, tokens = case["x"].shape
    # what the tail lanes of an input row carry must not matter
    x, mask, y = (
        row_beats(case[name].astype(np.int64), config.lanes, fill).tolist()
        for name, fill in (("x", 127), ("mask", 0), ("y", 0))
    )  # (rows, beats, lanes)
    beats = config.beats(tokens)
    last_row = beats - 1 + config.latency(tokens) + (rows - 1) * config.cycles_per_row(tokens)
    return Transaction(
        case.name,
        {"i": [{"data": x[r][b], "mask": mask[r][b]} for r in range(rows) for b in range(beats)]},
        {
            "o": [
                {"data": y[r][b], "last": int(b == beats - 1)}
                for r in range(rows)
                for b in range(beats)
            ],
            "rows": [{"reciprocal": n} for n in case["reciprocal"].tolist()],
        },
        constants={
            "config": {
                "tokens": tokens,
                "mode": case.scalar("uniform8"),
                "row_norm": case.scalar("row_norm"),
            }
        },
        tables={"table": [{"addr": d, "data": e} for d, e in enumerate(case["table"].tolist())]},
        flags={"error": int(case["mask"].all(axis=1).any())},
        cycles=last_row + beats - 1 + config.rows_latency,
        resets=True,  # error stays until reset
    )
