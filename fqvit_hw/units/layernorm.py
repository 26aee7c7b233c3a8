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
    INT16,
    MAX_CHANNELS,
    NORM,
    NORM_FRACTION,
    NORM_RECIPROCAL,
    PTF_BITS,
    ROOT_BITS,
    IntFormat,
    bit_length,
    ceil_log2,
    require,
    rshift_round,
    saturate,
)
from .params import array_field, scalar_in

RECIPROCAL_BITS = ROOT_BITS + 15  # R = floor(2^33 / root) has 16 significant bits
MAX_GAMMA_SHIFT = 15


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


@dataclass(frozen=True)
class LayerNormWidths:
    """Formats of the intermediates for up to `channels` channels of `width`-bit codes.

    A PTF input spans 255 << 3 < 2^11 and lies in 12 bits; an int16 one spans 2^16 - 1.
    """

    channels: int
    width: int

    @property
    def span(self) -> int:
        return 255 << 3 if self.width == 8 else (1 << 16) - 1

    @property
    def X(self) -> IntFormat:  # noqa: N802
        return IntFormat(12 if self.width == 8 else 16)

    @property
    def total(self) -> IntFormat:
        return IntFormat(self.X.width + ceil_log2(self.channels))

    @property
    def sumsq(self) -> IntFormat:
        return IntFormat(2 * (self.X.width - 1) + ceil_log2(self.channels) + 1, False)

    @property
    def largest_variance(self) -> int:
        """C^2 * variance is largest when half the channels sit at either end: (C * span / 2)^2."""
        return (self.channels * self.span) ** 2 // 4

    @property
    def V(self) -> IntFormat:  # noqa: N802
        # (C * span / 2)^2 < 2^(2 log2 C + 2 log2 span - 2); two more bits leave room for eps'
        return IntFormat(2 * ceil_log2(self.channels) + 2 * self.span.bit_length(), False)

    @property
    def D(self) -> IntFormat:  # noqa: N802
        return IntFormat(ceil_log2(self.channels) + self.span.bit_length() + 1)


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

    Against real-valued LayerNorm of the same codes the result errs by at most
    0.5 + |gamma/s| * (|T| * (2^-15 + 2^-17) + 2^-17) + |T| * 2^-(g+1) + 2^-11 steps.
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
