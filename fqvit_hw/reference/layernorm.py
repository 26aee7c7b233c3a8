"""LayerNorm on integers as the authors simulate it: an 8-bit multiplier for each element.

X are the input's codes less zero, shifted by their PTF factors: x = s * X (FQ-ViT section 3.2).

    A = s * gamma / (std * out_scale)    N = 7 - floor(log2 |A|), M = floor(|A| * 2^N): 8 bits
    offset = (beta - gamma * mean / std) / out_scale
    y = out_scale * round((sign(A) * M * X + round(offset * 2^N)) / 2^N)

The output still has to pass its own quantization point. LayerNorm's epsilon is left out.
"""

from __future__ import annotations

import torch

MANTISSA_BITS = 8
MAX_SHIFT = 31


def integer_layer_norm(x, layer, scale, out_scale, guarded: bool = True) -> torch.Tensor:
    """x: float (..., C), fake-quantized with `scale`, () or (C,) -> multiples of `out_scale`.

    guarded: a constant token gives beta. If not, it divides by 0, as in the authors' code, which
    gives NaN or infinity.
    """
    s = scale.min()
    X = (x / scale).round() * (scale / s).round()
    mean = s * X.mean(-1, keepdim=True)
    std = s * standard_deviation(X, guarded)
    if guarded:
        std = std.masked_fill(std == 0, torch.inf)  # A becomes 0, which leaves beta
    A = s / std * layer.weight / out_scale
    M, N = mantissa_and_shift(A.abs())
    offset = (layer.bias - mean / std * layer.weight) / out_scale
    steps = (A.sign() * M * X + (offset * 2**N).round()) / 2**N
    return steps.round() * out_scale


def standard_deviation(X, guarded: bool) -> torch.Tensor:
    """X: whole numbers (..., C) -> (..., 1). Not guarded, the sums of squares cancel in float32:

    a token far from 0 loses digits, and the difference may fall below 0, which gives NaN.
    """
    if guarded:
        return X.std(-1, correction=0, keepdim=True)
    C = X.shape[-1]
    return (C * (X**2).sum(-1, keepdim=True) - X.sum(-1, keepdim=True) ** 2).sqrt() / C


def mantissa_and_shift(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """a >= 0 -> (M, N) with a = M / 2^N, M in 128..255 where N needs no clamping, 0 for 0."""
    N = (MANTISSA_BITS - 1 - a.log2().floor()).clamp(0, MAX_SHIFT)
    M = (a * 2**N).floor().clamp(0, 2**MANTISSA_BITS - 1)
    return M, N
