"""LayerNorm on integers as the authors simulate it: an 8-bit multiplier for each element.

With X the input's codes less zero, shifted by their PTF factors, in steps of s (FQ-ViT section 3.2):

    A = gamma / (std * out_scale), real; N = 7 - floor(log2 |A|), M = floor(|A| * 2^N)      8 bits
    y = out_scale * round((sign(A) * M * X + round((beta - gamma * mean / std) / out_scale * 2^N)) / 2^N)

The output still has to pass its own quantization point. LayerNorm's epsilon is left out.
"""

from __future__ import annotations

import torch

MANTISSA_BITS = 8
MAX_SHIFT = 31


def integer_layer_norm(x, layer, scale, out_scale, guarded: bool = True) -> torch.Tensor:
    """x: float (..., C), fake-quantized with `scale`, () or (C,) -> multiples of `out_scale`.

    guarded: a constant token gives beta. If not, the variance is E[x^2] - E[x]^2 as in the authors'
    code: it loses digits in float32, and a constant token gives NaN or noise.
    """
    s = scale.min()
    X = (x / scale).round() * (scale / s).round()
    mean = s * X.mean(-1, keepdim=True)
    if guarded:
        std = s * X.std(-1, correction=0, keepdim=True)
        std = std.masked_fill(std == 0, torch.inf)  # A becomes 0, which leaves beta
    else:
        C = X.shape[-1]
        square_of_sum = X.sum(-1, keepdim=True) ** 2
        std = s / C * torch.sqrt(C * (X**2).sum(-1, keepdim=True) - square_of_sum)
    A = s / std * layer.weight / out_scale
    M, N = mantissa_and_shift(A.abs())
    offset = (layer.bias - mean / std * layer.weight) / out_scale
    steps = (A.sign() * M * X + (offset * 2**N).round()) / 2**N
    return steps.round() * out_scale


def mantissa_and_shift(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """a >= 0 -> (M, N) with a = M / 2^N, M in 128..255 where N needs no clamping, 0 for 0."""
    N = (MANTISSA_BITS - 1 - a.log2().floor()).clamp(0, MAX_SHIFT)
    M = (a * 2**N).floor().clamp(0, 2**MANTISSA_BITS - 1)
    return M, N
