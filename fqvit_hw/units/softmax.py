"""Softmax: int8 scores become attention codes of a few bits.

    m = max(x), d = m - x

Modes of the row's maximum (max4, max3, max5, max8): code = T[d], a table of codes. Rows are
normalized by their own sum of values later, so that any factor common to a row divides out, and a
value need not be a share of the row: that of the row's maximum is 255, the largest.

Modes of the row's sum, Log-Int-Softmax (FQ-ViT section 3.3) and uniform8: e = E[d], S = sum(e)

    lis4:     code = 0                                           if 2S < 3e
                   = 1 + max{c >= 0 : 2S + e >= (3e << c)}       otherwise, strict for c = 1
    uniform8: code = round(255 e / S)

lis4 is the paper's k = round(S / e), floor(log2 k) plus one if k >= 1.5 * 2^floor(log2 k), without
its division and logarithm. Codes 0..14 mean 2^-code; 15 means zero (the authors use 17 states,
which do not fit four bits). uniform8 is for the paper's 8/8/8 rows. Row sums W of lis4, the sum of
2^(14 - code), stay in [2^13, 1.5 * 2^14) for up to 4096 tokens: each code is within a factor
[0.625, 1.5) of e / S, and codes of 15 lose at most 1 / 24575 each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..attention_codes import MODES, AttentionCodes
from ..formats import (
    BITSHIFT_FRACTION,
    EXPONENTIAL,
    INT8,
    MAX_TOKENS,
    RECIPROCAL,
    RECIPROCAL_FRACTION,
    UINT8,
    ZERO_CODE,
    bit_length,
    require,
)
from .params import array_field


@dataclass(frozen=True, eq=False)
class Softmax:
    """table: of the distance d to the row maximum, (256,): codes T[d] of the mode's bits in a mode
    of the maximum, T[0] = 0, the code of the largest value; else uint24 exponentials E[d], E[0] > 0
    the largest.

    mode: a name of attention_codes.MODES; row_norm: scale context rows by 1 / W: always in the
    modes of the maximum, a choice in lis4, never in uniform8. Raises TypeError or ValueError.
    """

    table: np.ndarray
    mode: str = "lis4"
    row_norm: bool = True

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"Softmax.mode: expected one of {tuple(MODES)}, got {self.mode!r}")
        codes = self.codes
        table = array_field(
            self, "table", codes.format if codes.of_maximum else EXPONENTIAL, (256,)
        )
        if codes.of_maximum and table[0] != 0:
            raise ValueError(f"Softmax.table: T[0] must be 0, the code of 255, got {table[0]}")
        if not codes.of_maximum and (table[0] == 0 or table.max() > table[0]):
            raise ValueError("Softmax.table: E[0] must be positive and the largest entry")
        if not isinstance(self.row_norm, bool):
            raise TypeError(f"Softmax.row_norm: expected a bool, got {self.row_norm!r}")
        if codes.row_sum is None and self.row_norm:
            raise ValueError(f"Softmax.row_norm: not for mode {self.mode}")
        if codes.of_maximum and not self.row_norm:
            raise ValueError(f"Softmax.row_norm: always on in mode {self.mode}")

    @property
    def codes(self) -> AttentionCodes:
        return MODES[self.mode]


def softmax(x, p: Softmax, mask=None) -> np.ndarray:
    """x: int8 scores (..., tokens) -> uint8 codes of the mode's bits, same shape.

    mask: bool, broadcast against x, True where the pair is left out: its code is that of 0, and it
    counts neither in the maximum nor in the sum. Raises TypeError for another mask, ValueError for
    a row that is masked everywhere and for more than 4096 tokens.
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
    if p.codes.of_maximum:
        return np.where(keep, p.table[distance], p.codes.zero_code).astype(np.uint8)
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


def values(codes, of: AttentionCodes) -> np.ndarray:
    """codes (...) -> int32 (...), what they stand for."""
    codes = require(codes, of.format, "softmax: code")
    return np.array(of.values, np.int32)[codes]


def row_reciprocal(codes, of: AttentionCodes) -> tuple[np.ndarray, np.ndarray]:
    """codes (..., tokens) -> uint17 floor(2^(L + 15) / W) and uint5 L + 1, both (..., 1).

    W is the row's sum of values, and L its length in bits; 14 in lis4, where W / 2^14 is the sum of
    the row. A sum of values times v times the first, shifted by the second, is a mean of v in
    units of 2^-14. Raises OverflowError for a W that no row of `softmax` codes has.
    """
    return sum_reciprocal(values(codes, of).sum(-1, keepdims=True, dtype=np.int64), of)


def sum_reciprocal(W, of: AttentionCodes) -> tuple[np.ndarray, np.ndarray]:
    """W: int64 row sums -> their reciprocals and shifts, see `row_reciprocal`."""
    if of.row_sum is None:
        raise ValueError(f"softmax: rows of {of.name} are not normalized")
    W = require(W, of.row_sum, "softmax: row sum")
    least = max(of.values) if of.of_maximum else 1 << BITSHIFT_FRACTION - 1
    if np.any(least > W):
        raise OverflowError(f"softmax: row sum: at least {least} in {of.name}, got {W.min()}")
    L = bit_length(W) if of.of_maximum else np.full(W.shape, BITSHIFT_FRACTION)
    reciprocal = (np.int64(1) << L + RECIPROCAL_FRACTION) // W
    return require(reciprocal, RECIPROCAL, "softmax: row reciprocal"), L + 1
