"""Mean over the tokens (Swin's last step): a sum and a requantize.

    y_c = sat8(rshift_round(sum over tokens of (x_c - zero) * M, N) + zero_out)

The division by the number of tokens lies in M and N.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..formats import ACC, INT8, MAX_TOKENS, require
from .params import scalar_in
from .requantize import Requantize, requantize


@dataclass(frozen=True, eq=False)
class Pool:
    """tokens: N that M was made for, 1..4096; zero: of the input codes; requantize: scalar."""

    tokens: int
    zero: int
    requantize: Requantize

    def __post_init__(self):
        scalar_in(self, "tokens", 1, MAX_TOKENS)  # |sum| <= 255 * 4096 < 2^20
        scalar_in(self, "zero", INT8.min, INT8.max)
        if self.requantize.width != 8 or self.requantize.multiplier.shape != ():
            raise ValueError("Pool.requantize: expected one multiplier and 8 output bits")


def pool_sum(x, p: Pool) -> np.ndarray:
    """x: int8 (..., N, C) -> int32 (..., C), zero-free. Raises ValueError for other N."""
    x = require(x, INT8, "pool: code")
    if x.shape[-2] != p.tokens:
        raise ValueError(f"pool: expected {p.tokens} tokens, got shape {x.shape}")
    total = x.sum(-2, dtype=np.int64) - p.tokens * p.zero
    return require(total, ACC, "pool: sum").astype(np.int32)


def pool(x, p: Pool) -> np.ndarray:
    """x: int8 (..., N, C) -> int8 (..., C): the mean over the tokens at another scale."""
    return requantize(pool_sum(x, p), p.requantize)
