"""Log-Int-Softmax: int8 scores become 4-bit logarithmic attention codes (FQ-ViT section 3.3).

    m = max(x), d = m - x, e = E[d], S = sum(e)
    code = 0                                           if 2S < 3e
         = 1 + max{c >= 0 : 2S + e >= (3e << c)}       otherwise, strict for c = 1

which is the paper's k = round(S / e), floor(log2 k) plus one if k >= 1.5 * 2^floor(log2 k),
without its division and logarithm. Codes 0..14 mean 2^-code; 15 means zero (the authors use 17
states, which do not fit four bits). `uniform8` gives round(255 e / S) instead, for the paper's
8/8/8 rows.

Row sums W = sum(2^(14 - code)) stay in [2^13, 1.5 * 2^14) for up to 4096 tokens: each code is
within a factor [0.625, 1.5) of e / S, and codes of 15 lose at most 1 / 24575 each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..formats import (
    BITSHIFT_FRACTION,
    CODE,
    EXPONENTIAL,
    INT8,
    MAX_TOKENS,
    RECIPROCAL,
    RECIPROCAL_FRACTION,
    ROW_SUM,
    UINT8,
    ZERO_CODE,
    require,
)
from .params import array_field

MODES = ("lis4", "uniform8")


@dataclass(frozen=True, eq=False)
class Softmax:
    """table: uint24 (256,), E[d] of the distance d to the row maximum, E[0] > 0 its largest.

    mode: "lis4" or "uniform8"; row_norm: scale context rows by 1 / W (lis4 only).
    """

    table: np.ndarray
    mode: str = "lis4"
    row_norm: bool = True

    def __post_init__(self):
        table = array_field(self, "table", EXPONENTIAL, (256,))
        if table[0] == 0 or table.max() > table[0]:
            raise ValueError("Softmax.table: E[0] must be positive and the largest entry")
        if self.mode not in MODES:
            raise ValueError(f"Softmax.mode: expected one of {MODES}, got {self.mode!r}")
        if not isinstance(self.row_norm, bool):
            raise TypeError(f"Softmax.row_norm: expected a bool, got {self.row_norm!r}")
        if self.mode == "uniform8" and self.row_norm:
            raise ValueError("Softmax.row_norm: only for mode lis4")


def softmax(x, p: Softmax, mask=None) -> np.ndarray:
    """x: int8 scores (..., tokens) -> uint8 codes (4 bits in mode lis4), same shape.

    mask: bool, broadcast against x, True where the pair is left out: its code is 15 (or 0 in
    uniform8) and it counts neither in the maximum nor in the sum. Raises TypeError for another
    mask, ValueError for a row that is masked everywhere and for more than 4096 tokens.
    """
    x = require(x, INT8, "softmax: score").astype(np.int16)
    if x.shape[-1] > MAX_TOKENS:
        raise ValueError(f"softmax: at most {MAX_TOKENS} tokens are proven, got {x.shape[-1]}")
    if mask is not None and np.asarray(mask).dtype != bool:
        raise TypeError(f"softmax: mask: expected bool, got {np.asarray(mask).dtype}")
    keep = np.True_ if mask is None else ~np.broadcast_to(mask, x.shape)
    if not np.all(np.any(keep, axis=-1)):
        raise ValueError("softmax: a row is masked everywhere")
    highest = np.max(x, axis=-1, keepdims=True, initial=INT8.min, where=keep)
    distance = np.where(keep, highest - x, 0)
    e = np.where(keep, p.table[distance], 0).astype(np.int64)
    S = e.sum(-1, keepdims=True)
    if p.mode == "uniform8":
        return require((510 * e + S) // (2 * S), UINT8, "softmax: uniform8").astype(np.uint8)
    return log2_code(e, S)


def log2_code(e, S) -> np.ndarray:
    """e, S: int64 with 0 <= e <= S, S > 0 -> uint8 codes 0..15; see the module's formula."""
    code = (3 * e <= 2 * S).astype(np.uint8)
    # the conditions are nested, so that counting them finds the largest c
    code += 2 * S + e > 6 * e  # c = 1, strict: S/e = 2.5 rounds to the even 2
    for c in range(2, ZERO_CODE):
        code += 2 * S + e >= (3 * e) << c
    return code


def row_reciprocal(codes) -> np.ndarray:
    """codes (..., tokens) -> uint17 floor(2^29 / W) (..., 1), W the row's sum of 2^(14 - code).

    Raises OverflowError for a W outside [2^13, 2^15), which no row of `softmax` codes has.
    """
    codes = require(codes, CODE, "softmax: code")
    weight = np.where(codes == ZERO_CODE, 0, (1 << BITSHIFT_FRACTION) >> codes.astype(np.int64))
    W = require(weight.sum(-1, keepdims=True), ROW_SUM, "softmax: row sum")
    reciprocal = (np.int64(1) << RECIPROCAL_FRACTION) // np.maximum(W, 1)
    return require(reciprocal, RECIPROCAL, "softmax: row reciprocal")
