"""What calibration measures: the range of every tensor, and the PTF factors of the stream."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..formats import INT8, PTF_MAX
from ..scale import Scale
from .float_steps import float_steps, normalize, tokens

TOKENS = 2000  # at a time, 10 images of DeiT-Tiny: they then stay below 1 GiB
STREAM = ("embed", "conv", "reduction", "residual1", "residual2")

Ranges = dict[str, tuple[np.ndarray, np.ndarray]]  # name -> (min, max), float64 per last axis


def is_stream(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in STREAM


def all_steps(model, images, mean, std) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of every batch of uint8 images (B, C, H, W), one after the other."""
    batch = max(1, TOKENS // tokens(model))
    for start in range(0, len(images), batch):
        yield from float_steps(model, normalize(images[start : start + batch], mean, std))


def observe_ranges(model, images, mean, std) -> Ranges:
    """Minimum and maximum of each channel (last axis) of each tensor over all images."""
    ranges: Ranges = {}
    for name, tensor in all_steps(model, images, mean, std):
        low, high = torch.aminmax(tensor.flatten(0, -2), dim=0)
        low, high = low.double().numpy(), high.double().numpy()
        if name in ranges:
            low, high = np.minimum(low, ranges[name][0]), np.maximum(high, ranges[name][1])
        ranges[name] = low, high
    return ranges


def search_factors(model, images, mean, std, scales: dict[str, Scale]) -> dict[str, Scale]:
    """For each channel of the residual stream the factor a in 0..3 with the least squared error.

    scales: base scale and zero point of each tensor. Returns the stream's scales with factors.
    FQ-ViT section 3.2 searches over one batch; here the errors of all images are summed, in
    float64 and in a fixed order, and the smaller factor wins a tie.
    """
    errors: dict[str, np.ndarray] = {}
    for name, tensor in all_steps(model, images, mean, std):
        if is_stream(name):
            found = torch.stack(
                [squared_error(tensor, scales[name], a) for a in range(PTF_MAX + 1)]
            )
            errors[name] = errors.get(name, 0) + found.numpy()
    return {
        name: Scale(scales[name].scale, scales[name].zero, e.argmin(0))
        for name, e in errors.items()
    }


def squared_error(x: torch.Tensor, scale: Scale, factor: int) -> torch.Tensor:
    """x: float (B, N, C) -> float64 (C,): the squared error of int8 codes with one factor."""
    step = float(scale.scale) * 2**factor
    codes = torch.round(x / step + scale.zero).clamp(INT8.min, INT8.max)
    return (
        (codes - scale.zero).mul_(step).sub_(x).square_().flatten(0, -2).sum(0, dtype=torch.float64)
    )
