"""The specification: every operation of the walk done by the units, in numpy.

No float appears at any step, and torch is never imported.
"""

from __future__ import annotations

import numpy as np

from ..units import (
    attention,
    gelu,
    layernorm,
    matmul,
    patches,
    pool_sum,
    requantize,
    residual,
    windows,
)


class NumpyOps:
    """The operations of an engine, on numpy arrays; codes are int8 unless their width says 16.

    `record`, where it is taken, sees what an operation computes inside: record(part, tensor).
    Parameters are the units' dataclasses. Every operation refuses what its unit refuses.
    """

    def array(self, images: np.ndarray):
        """uint8 images -> the engine's array."""
        return images

    def numpy(self, tensor) -> np.ndarray:
        """The engine's array -> numpy, of the same dtype as the unit's output."""
        return tensor

    def patches(self, images, patch: int, pad=None):
        """uint8 (B, C, H, W) -> (B, N, C * patch^2)"""
        return patches(images, patch, pad)

    def embed(self, x, cls_token, pos_embed, p):
        """x: (B, N - 1, C); cls_token (C,) becomes token 0; pos_embed (N, C) is added."""
        cls_token = np.broadcast_to(cls_token, (len(x), 1, x.shape[-1])).astype(x.dtype)
        x = np.concatenate([cls_token, x], axis=1)  # (B, N - 1, C) -> (B, N, C)
        return residual(np.broadcast_to(pos_embed, x.shape), x, p)

    def take(self, x, index, fill: int | None):
        """x: (B, N, C) -> (B, *index.shape, C); `fill` where the index is PAD, None for no PAD."""
        return windows.take(x, index, fill)

    def linear(self, x, layer, scaling, record=None):
        """x: (..., K) -> codes (..., out) of scaling.width bits; records "acc"."""
        acc = matmul(x, layer.weight, layer.bias)
        if record:
            record("acc", acc)
        return requantize(acc, scaling)

    def linear_gelu(self, x, layer, scaling, p):
        """fc1 and GELU: (..., K) -> (..., out)."""
        return self.gelu(self.linear(x, layer, scaling), p)

    def linear_residual(self, x, layer, scaling, stream, p):
        """proj or fc2 and the residual add: (..., K) and stream (..., C) -> (..., C)."""
        return self.residual(stream, self.linear(x, layer, scaling), p)

    def layernorm(self, x, p):
        """(..., C) -> (..., C)"""
        return layernorm(x, p)

    def gelu(self, x, p):
        """int16, any shape -> same shape"""
        return gelu(x, p)

    def residual(self, x, y, p):
        """stream x and branch y (..., C) -> stream (..., C)"""
        return residual(x, y, p)

    def attention(self, qkv, heads: int, p, bias=None, mask=None, record=None):
        """qkv: (B, [W,] N, 3 * H * D), columns q | k | v, each head-major -> (B, [W,] N, H * D).

        bias: int32 (H, N, N); mask: bool (W, N, N). Records the parts of units/attention.py, of
        shape (B, [W,] H, N, ...).
        """
        *lead, N, columns = qkv.shape
        split = qkv.reshape(*lead, N, 3, heads, columns // (3 * heads))
        # (..., N, 3, H, D) -> (3, ..., H, N, D)
        q, k, v = np.moveaxis(np.moveaxis(split, -3, 0), -2, -3)
        if mask is not None:
            mask = mask[:, None]  # (W, N, N) -> (W, 1, N, N), for all heads
        y = attention(q, k, v, p, bias, mask, record or (lambda part, tensor: None))
        # (..., H, N, D) -> (..., N, H, D) -> (..., N, H * D)
        return np.moveaxis(y, -3, -2).reshape(*lead, N, columns // 3)

    def pool(self, x, p, record=None):
        """(B, N, C) -> (B, C); records "acc"."""
        acc = pool_sum(x, p)
        if record:
            record("acc", acc)
        return requantize(acc, p.requantize)
