"""Bench of softmax: golden cases, then sizes, ties, masks and extremes in every mode built."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fqvit_hw.attention_codes import MODES
from fqvit_hw.formats import UNIT_ROW
from fqvit_hw.rtl.blocks.softmax import Softmax, SoftmaxConfig
from fqvit_hw.units import Softmax as Parameters
from fqvit_hw.vectors.cases import Case, Tensor, softmax_case
from fqvit_hw.vectors.softmax_corners import nearest

from .golden import golden_cases
from .stream import row_beats
from .transaction import Transaction

CONFIGURATIONS = {
    "lanes1": SoftmaxConfig(1, 24, ("max4", "lis4")),
    "lanes4": SoftmaxConfig(4, 70),
    "lanes4_all": SoftmaxConfig(4, 64, tuple(MODES)),
    "lanes5": SoftmaxConfig(5, 100, ("max3", "max4", "max5", "max8")),
    "lanes8": SoftmaxConfig(8, 197, ("lis4",)),
    "lanes8_three": SoftmaxConfig(8, 197, ("max4", "lis4", "uniform8")),
    "lanes16": SoftmaxConfig(16, 256),
    "lanes16_all": SoftmaxConfig(16, 4096, tuple(MODES)),
}
SMALL = ("lanes4", "lanes8_three")
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
        if case["x"].shape[1] <= config.max_tokens and mode_of(case) in config.modes:
            yield transaction(config, case)
    lengths = [n for n in TOKENS[size] if n <= config.max_tokens]
    for mode in config.modes:
        for n, tokens in enumerate(lengths):
            few = size == "small" or tokens > 200 or len(config.modes) > 4
            chosen = list(TABLES)[n % len(TABLES) :: 3] if few else TABLES
            for table in chosen:
                case = random_case(f"{table}_{mode}", parameters(table, mode), tokens)
                yield transaction(config, case)
        if not MODES[mode].of_maximum:
            p = parameters("exact", mode, row_norm=False)
            yield transaction(config, random_case(f"no_row_norm_{mode}", p, lengths[-1]))
        masked = masked_case(parameters("exact", mode), min(17, config.max_tokens))
        yield transaction(config, masked)


def mode_of(case: Case) -> str:
    return list(MODES)[case.scalar("mode")]


def parameters(table: str, mode: str, row_norm: bool = True) -> Parameters:
    """A table of TABLES for any mode; rows are normalized where they can be."""
    codes = MODES[mode]
    if codes.of_maximum:
        return Parameters(nearest(TABLES[table], codes), mode)
    return Parameters(TABLES[table], mode, row_norm and codes.row_sum is not None)


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


def masked_case(p: Parameters, tokens: int) -> Case:
    """A row masked everywhere among others, which the Python unit refuses: codes of 0, reciprocal
    and shift of 1.0."""
    x = np.arange(3 * tokens).reshape(3, tokens) * 37 % 256 - 128
    case = softmax_case(f"masked_everywhere_{p.mode}", p, x)
    changed = {n: case[n].copy() for n in ("mask", "y", "reciprocal", "shift")}
    changed["mask"][1], changed["y"][1] = 1, p.codes.zero_code
    changed["reciprocal"][1], changed["shift"][1] = UNIT_ROW
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
            "rows": [
                {"reciprocal": int(r), "shift": int(s)}
                for r, s in zip(case["reciprocal"], case["shift"], strict=True)
            ],
        },
        constants={
            "config": {
                "tokens": tokens,
                "mode": case.scalar("mode"),
                "row_norm": case.scalar("row_norm"),
            }
        },
        tables={"table": [{"addr": d, "data": e} for d, e in enumerate(case["table"].tolist())]},
        flags={"error": int(case["mask"].all(axis=1).any())},
        cycles=last_row + beats - 1 + config.rows_latency,
        resets=True,  # error stays until reset
    )
