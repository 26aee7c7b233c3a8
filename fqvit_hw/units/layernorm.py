"""PTF LayerNorm in integers (FQ-ViT section 3.2; exact statistics instead of its 8-bit M).

    X_c = (code_c - zero) << a_c                       a_c: power-of-two factor, 0..3
    V   = C * sum(X^2) - sum(X)^2 + eps'               = (C * std / s)^2
    D_c = C * X_c - sum(X)                             = C * (X_c - mean)
    V'  = V * 4^-e in [2^34, 2^36), root = isqrt(V'), R = floor(2^33 / root)
    T_c = rshift_round(D_c * R, 17 + e)                = D_c / sqrt(V) * 2^16
    y_c = sat8(rshift_round(T_c * G_c + (B_c << (g + 6)), g + 16) + zero_out)

The root is taken of V normalized to 36 bits whatever C and the input width are: its relative error
2^-17 and that of R, 2^-15, are then the same for quiet and loud tokens, and the root has 18 digits
instead of 27. V = 0 (a constant token, eps' = 0) has D = 0 and gives beta: nothing is divided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..formats import (
    BETA,
    BETA_FRACTION,
    EPSILON,
    GAMMA,
    INT8,
    MAX_CHANNELS,
    MAX_GAMMA_SHIFT,
    NORM,
    NORM_FRACTION,
    NORM_RECIPROCAL,
    PTF_BITS,
    RECIPROCAL_BITS,
    ROOT_BITS,
    IntFormat,
    LayerNormWidths,
    bit_length,
    require,
    rshift_round,
    saturate,
)
from .params import array_field, scalar_in


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """factor: (C,) PTF exponents 0..3; zero: of the input codes; width: 8, or 16 without PTF.

    eps: eps' = round(eps * C^2 / s^2), unsigned; gamma: int16 (C,) in units of 2^-gamma_shift
    output steps; beta: int24 (C,) in units of 2^-10 output steps; zero_out: int8.
    """

    factor: np.ndarray
    zero: int
    width: int
    eps: int
    gamma: np.ndarray
    gamma_shift: int
    beta: np.ndarray
    zero_out: int

    def __post_init__(self):
        channels = np.shape(self.factor)
        if len(channels) != 1 or not 1 <= channels[0] <= MAX_CHANNELS:
            raise ValueError(
                f"LayerNorm.factor: expected 1..{MAX_CHANNELS} channels, got shape {channels}"
            )
        if self.width not in (8, 16):
            raise ValueError(f"LayerNorm.width: expected 8 or 16, got {self.width}")
        array_field(self, "factor", IntFormat(PTF_BITS, False))
        scalar_in(self, "zero", INT8.min, INT8.max)
        if self.width == 16 and (self.zero != 0 or self.factor.any()):
            raise ValueError("LayerNorm: a 16-bit input has zero 0 and no PTF factors")
        array_field(self, "gamma", GAMMA, channels)
        array_field(self, "beta", BETA, channels)
        scalar_in(self, "gamma_shift", 0, MAX_GAMMA_SHIFT)
        scalar_in(self, "zero_out", INT8.min, INT8.max)
        widths = LayerNormWidths(channels[0], self.width)
        scalar_in(self, "eps", 0, EPSILON.max)
        if widths.largest_variance + self.eps > widths.V.max:
            raise ValueError(
                f"LayerNorm.eps: {self.eps} takes V beyond {widths.V.width} bits for "
                f"{channels[0]} channels"
            )


def isqrt(v) -> np.ndarray:
    """floor(sqrt(v)) of int64 v < 2^36, one binary digit a step, as the hardware does it."""
    remainder, root = np.array(v, np.int64), np.zeros_like(v)
    for digit in range(ROOT_BITS - 1, -1, -1):
        trial = (root << (digit + 1)) + (np.int64(1) << (2 * digit))  # (root + 2^d)^2 - root^2
        take = remainder >= trial
        remainder = np.where(take, remainder - trial, remainder)
        root = np.where(take, root + (np.int64(1) << digit), root)
    return root


def reciprocal_root(V):
    """V: int64 >= 0 -> (R, e) with 1 / sqrt(V) = R * 2^-(33 + e); R = 0 for V = 0."""
    e = (bit_length(V) + 1) // 2 - ROOT_BITS
    normalized = np.where(e < 0, V << np.maximum(-2 * e, 0), V >> np.maximum(2 * e, 0))
    root = isqrt(normalized)
    R = np.where(V > 0, (np.int64(1) << RECIPROCAL_BITS) // np.maximum(root, 1), 0)
    return require(R, NORM_RECIPROCAL, "layernorm: reciprocal"), e


def layernorm(x, p: LayerNorm) -> np.ndarray:
    """x: codes of p.width bits (..., C) -> int8 (..., C).

    Against real-valued LayerNorm of the same codes and the same eps', before both saturate, the
    result errs by less than 0.5 + |G| / 2^g * (|t| * 2^-15 + 2^-17) + |t| * 2^-(g+1) + 2^-11 steps:
    t = D / sqrt(V), |t| <= sqrt(C - 1); the terms are the final rounding, R and the rounding of T,
    that of gamma to G / 2^g, and that of beta. Derivation in docs/datapath.md.
    """
    channels = p.factor.shape[0]
    if x.shape[-1] != channels:
        raise ValueError(f"layernorm: expected {channels} channels, got {x.shape[-1]}")
    w = LayerNormWidths(channels, p.width)
    require(x, IntFormat(p.width), "layernorm: input code")
    X = require((x.astype(np.int64) - p.zero) << p.factor, w.X, "layernorm: X")
    total = require(X.sum(-1, keepdims=True), w.total, "layernorm: sum X")
    sumsq = require((X * X).sum(-1, keepdims=True), w.sumsq, "layernorm: sum X^2")
    V = require(channels * sumsq - total * total + p.eps, w.V, "layernorm: V")
    D = require(channels * X - total, w.D, "layernorm: D")
    R, e = reciprocal_root(V)
    shift = np.where(V > 0, RECIPROCAL_BITS - NORM_FRACTION + e, 0)
    T = require(rshift_round(D * R, shift), NORM, "layernorm: T")
    g = p.gamma_shift
    beta = p.beta.astype(np.int64) << (g + NORM_FRACTION - BETA_FRACTION)
    y = rshift_round(T * p.gamma + beta, g + NORM_FRACTION) + p.zero_out
    return saturate(y, INT8)
