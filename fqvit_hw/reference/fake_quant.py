"""Fake quantization: a float tensor is rounded to what its integer codes would stand for.

code = clamp(round(x / scale + zero))        round: half to even, torch's
x'   = (code - zero) * scale
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

UINT8_MAX = 255
EPSILON = torch.finfo(torch.float32).eps  # the least scale, for tensors that are 0 everywhere


@dataclass(frozen=True, eq=False)
class Uniform:
    """How an activation is quantized: uint8 codes with a zero point, so asymmetric.

    scale: float (), or (C,) with a power-of-two factor per channel in it (the last axis); zero:
    float (), an integer 0..255.
    """

    scale: torch.Tensor
    zero: torch.Tensor

    @classmethod
    def of_range(cls, low: torch.Tensor, high: torch.Tensor) -> Uniform:
        """The 256 codes span low..high. If 0 lies outside, the zero point saturates."""
        scale = ((high - low) / UINT8_MAX).clamp(min=EPSILON)
        return cls(scale, (0 - torch.round(low / scale)).clamp(0, UINT8_MAX))

    def fake_quantize(self, x: torch.Tensor) -> torch.Tensor:
        codes = (x / self.scale + self.zero).round().clamp(0, UINT8_MAX)
        return (codes - self.zero) * self.scale


def fake_quantize_weight(weight: torch.Tensor) -> torch.Tensor:
    """int8 and symmetric, one scale per output channel (axis 0).

    The scale is max|w| / 127.5, the authors': the largest weight of a channel, 127.5 steps, becomes
    127 if it is positive.
    """
    largest = weight.abs().flatten(1).amax(1)
    scale = (largest / 127.5).clamp(min=EPSILON).reshape(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round().clamp(-128, 127) * scale
