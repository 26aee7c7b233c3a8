"""Requantize: an int32 accumulator becomes a code of 8 to 32 bits.

    y = saturate(rshift_round(acc * M, N) + zero)

The product is exact (48 bits). DESIGN: dyadic requantization as in integer-only inference
(Jacob et al. 2018), with M in [2^15, 2^16) so that 15 significant bits always remain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..formats import (
    ACC,
    MAX_SHIFT,
    MULTIPLIER,
    PRODUCT,
    IntFormat,
    require,
    rshift_round,
    saturate,
)
from .params import array_field, scalar_in


@dataclass(frozen=True, eq=False)
class Requantize:
    """multiplier: uint16, 0 or [2^15, 2^16); shift: 1..47; both () or (channels,).

    zero: output zero point; width: output bits, 8..32. Raises TypeError or ValueError.
    """

    multiplier: np.ndarray
    shift: np.ndarray
    zero: int
    width: int

    def __post_init__(self):
        scalar_in(self, "width", 8, 32)
        scalar_in(self, "zero", self.format.min, self.format.max)
        multiplier = array_field(self, "multiplier", MULTIPLIER)
        shift = array_field(self, "shift", IntFormat(8, False))
        if multiplier.shape != shift.shape:
            raise ValueError(
                f"requantize: multiplier {multiplier.shape} and shift {shift.shape} differ in shape"
            )
        if multiplier.ndim > 1:
            raise ValueError(
                f"requantize: multiplier must have shape () or (channels,), not {multiplier.shape}"
            )
        if np.any((multiplier != 0) & (multiplier < 1 << 15)):
            raise ValueError("requantize: multiplier must be 0 or at least 2^15")
        if np.any((shift < 1) | (shift > MAX_SHIFT)):
            raise ValueError(f"requantize: shift must be 1..{MAX_SHIFT}")

    @property
    def format(self) -> IntFormat:
        return IntFormat(self.width)


def requantize(acc, p: Requantize) -> np.ndarray:
    """acc: int32 (..., channels) -> codes of p.width bits, same shape.

    Raises OverflowError if an accumulator does not fit int32, ValueError if the channels differ.
    """
    acc = require(acc, ACC, "requantize: accumulator").astype(np.int64)
    channels = p.multiplier.shape
    if acc.shape[acc.ndim - len(channels) :] != channels:
        raise ValueError(f"requantize: expected {channels[0]} channels, got shape {acc.shape}")
    product = acc * p.multiplier.astype(np.int64)
    require(product, PRODUCT, "requantize: product")
    return saturate(rshift_round(product, p.shift) + p.zero, p.format)
