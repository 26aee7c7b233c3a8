"""Residual add with a power-of-two factor per channel on the way in and on the way out.

    y_c = sat(rshift_round(((x_c - x_zero) << a_c) * Mx + (y_c - y_zero) * My, N + b_c) + zero)

x is the residual stream (int8 with PTF factors a, or int16), y the branch: int8 codes (the paper's
form), or 16 bits requantized straight from the projection's accumulator. One rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..formats import (
    INT8,
    INT16,
    PTF_BITS,
    RESIDUAL_MAX_SHIFT,
    RESIDUAL_MULTIPLIER,
    IntFormat,
    require,
    rshift_round,
    saturate,
)
from .params import array_field, scalar_in

# |X| <= 2^15, |Y| <= 2^15, M < 2^17: the sum of two products needs 34 bits
RESIDUAL_SUM = IntFormat(34)


@dataclass(frozen=True, eq=False)
class Residual:
    """x_width, y_width, width: 8 or 16 bits of the two inputs and the output; 16 bits have zero 0.

    x_factor, factor: (C,) PTF exponents 0..3 of input x and of the output (all 0 at 16 bits);
    x_multiplier, y_multiplier: uint17; shift: 0..40.
    """

    x_width: int
    x_zero: int
    x_factor: np.ndarray
    x_multiplier: int
    y_width: int
    y_zero: int
    y_multiplier: int
    shift: int
    width: int
    zero: int
    factor: np.ndarray

    def __post_init__(self):
        ptf = IntFormat(PTF_BITS, False)
        x_factor = array_field(self, "x_factor", ptf)
        factor = array_field(self, "factor", ptf, x_factor.shape)
        for width, zero in (("x_width", "x_zero"), ("y_width", "y_zero"), ("width", "zero")):
            if getattr(self, width) not in (8, 16):
                raise ValueError(
                    f"Residual.{width}: expected 8 or 16 bits, got {getattr(self, width)}"
                )
            scalar_in(self, zero, INT8.min, INT8.max)
            if getattr(self, width) == 16 and getattr(self, zero) != 0:
                raise ValueError(f"Residual.{zero}: a 16-bit tensor has zero 0")
        if (self.x_width == 16 and x_factor.any()) or (self.width == 16 and factor.any()):
            raise ValueError("Residual: a 16-bit residual stream has no PTF factors")
        scalar_in(self, "x_multiplier", 0, RESIDUAL_MULTIPLIER.max)
        scalar_in(self, "y_multiplier", 0, RESIDUAL_MULTIPLIER.max)
        scalar_in(self, "shift", 0, RESIDUAL_MAX_SHIFT)


def residual(x, y, p: Residual) -> np.ndarray:
    """x: codes of p.x_width bits (..., C); y: codes of p.y_width bits (..., C) -> p.width bits.

    Raises ValueError if the shapes differ or have not the channels of p.
    """
    x = require(x, IntFormat(p.x_width), "residual: x")
    y = require(y, IntFormat(p.y_width), "residual: y")
    if x.shape != y.shape or x.shape[-1:] != p.factor.shape:
        raise ValueError(
            f"residual: expected {len(p.factor)} channels, got shapes {x.shape} and {y.shape}"
        )
    X = require((x.astype(np.int64) - p.x_zero) << p.x_factor, INT16, "residual: X")
    Y = require(y.astype(np.int64) - p.y_zero, INT16, "residual: Y")
    total = require(X * p.x_multiplier + Y * p.y_multiplier, RESIDUAL_SUM, "residual: sum")
    rounded = rshift_round(total, p.shift + p.factor.astype(np.int64))
    return saturate(rounded + p.zero, IntFormat(p.width))
