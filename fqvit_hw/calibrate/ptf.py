"""The power-of-two factors of the int8 residual stream (FQ-ViT section 3.2)."""

from __future__ import annotations

import numpy as np
import torch

from ..formats import INT8, PTF_MAX
from ..network.scale import Scale
from ..network.step import Role
from .exact import ordered_sum
from .observers import all_steps


def search_factors(model, images, mean, std, scales: dict[str, Scale]) -> dict[str, Scale]:
    """For each channel of the residual stream the factor a in 0..3 with the least squared error.

    scales: base scale and zero point of each tensor. Returns the stream's scales with factors.
    The paper searches over one batch; here the errors of all images are summed, in their order, and
    the smaller factor wins a tie.
    """
    errors: dict[str, np.ndarray] = {}
    for step, tensor in all_steps(model, images, mean, std):
        if step.role is Role.STREAM:
            scale = scales[step.name]
            found = torch.stack([squared_error(tensor, scale, a) for a in range(PTF_MAX + 1)], 1)
            for image in found.numpy():  # (factors, C)
                errors[step.name] = errors.get(step.name, np.zeros(())) + image
    return {
        name: Scale(scales[name].scale, scales[name].zero, e.argmin(0))
        for name, e in errors.items()
    }


def squared_error(x: torch.Tensor, scale: Scale, factor: int) -> torch.Tensor:
    """x: float (B, ..., C) -> (B, C): the squared error of int8 codes with one factor."""
    step = float(scale.scale) * 2**factor
    codes = torch.round(x / step + scale.zero).clamp(INT8.min, INT8.max)
    errors = (codes - scale.zero).mul_(step).sub_(x).square_()
    return ordered_sum(errors.flatten(1, -2), 1)
