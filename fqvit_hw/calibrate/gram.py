"""Second moments of the int8 codes that a Linear reads: what its weights are rounded for.

Sums of products of integers, exact in floating point, and so the same in any order and on any
machine.
"""

from __future__ import annotations

import numpy as np

from ..formats import INT8
from ..network.scale import Scale

CHUNK = 1 << 10  # tokens: sums of 2^10 products of two int8 stay within the 24 bits of float32


class Gram:
    """Number, sum (K,) and products (K, K) of the codes of a step's tensor, over all tokens.

    As an observer it takes float tensors, and the codes that `scale` gives them. float64 that hold
    integers: 2^14 a product, so that 2^39 tokens fit.
    """

    def __init__(self, scale: Scale):
        self.scale = scale
        self.count, self.total, self.products = 0, np.zeros(()), np.zeros(())

    def update(self, x) -> None:
        """x: a float tensor (B, ..., groups, columns)."""
        values = x.flatten(-2).flatten(0, -2).double().numpy()  # (tokens, K)
        codes = np.rint(values / float(self.scale.scale)) + self.scale.zero
        self.add(codes.clip(INT8.min, INT8.max))

    def add(self, codes: np.ndarray) -> None:
        """codes: integers of any dtype (tokens, K)."""
        for start in range(0, len(codes), CHUNK):
            part = codes[start : start + CHUNK].astype(np.float32)
            self.products = self.products + (part.T @ part).astype(np.float64)
        self.total = self.total + codes.sum(0, dtype=np.float64)
        self.count += len(codes)

    @property
    def mean(self) -> np.ndarray:
        """The mean code of every column, float64 (K,)."""
        return self.total / self.count

    @property
    def covariance(self) -> np.ndarray:
        """count times that of the codes, float64 (K, K): no sum, so that it too is the same on any
        machine."""
        return self.products - np.outer(self.total, self.total) / self.count
