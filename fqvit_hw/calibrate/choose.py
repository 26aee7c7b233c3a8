"""From measured ranges to the scale and zero point of every tensor."""

from __future__ import annotations

import numpy as np

from ..config import QuantConfig
from ..formats import INT8, INT16, PTF_MAX, IntFormat
from ..scale import Scale
from .observers import Ranges, is_stream

BRANCHES = ("patch_embed", "proj", "fc2")
HEADROOM = 2  # of 16-bit tensors: codes to spare, so other images may reach twice the range
SMALLEST = 2.0**-16  # scale of a tensor that is always zero


def choose_scales(
    ranges: Ranges, config: QuantConfig, cls_token: np.ndarray | None
) -> dict[str, Scale]:
    """Scale and zero point of each tensor; the residual stream's factors are searched later.

    cls_token: (C,), enters in the format of the patch embedding, whose range must hold it; None
    for a model without one.
    """
    scales = {"image": Scale(1.0)}
    for name, (low, high) in ranges.items():
        kind = name.rsplit(".", 1)[-1]
        if name == "patch_embed" and cls_token is not None:
            low, high = np.minimum(low, cls_token), np.maximum(high, cls_token)
        if is_stream(name):
            scales[name] = stream_scale(low.min(), high.max(), config)
        elif kind == "qkv":
            scales[name] = qkv_scale(low, high, config)
        elif kind == "fc1":
            scales[name] = Scale(gelu_step(config.gelu_index_width))
            check_gelu_range(name, high.max(), config)
        elif kind == "softmax":
            scales[name] = Scale(1 / 255) if config.attention == "uniform8" else Scale(1, log2=True)
        elif kind in BRANCHES and config.branch_width == 16:
            scales[name] = Scale(symmetric(low.min(), high.max(), INT16) * HEADROOM)
        elif kind != "head":  # its scale follows from its weights
            scales[name] = asymmetric(low.min(), high.max())
    return scales


def asymmetric(low: float, high: float, divide_by: int = 1) -> Scale:
    """int8 codes over [low, high] and 0; the scale (not the zero point) divided by `divide_by`."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / (INT8.max - INT8.min) or SMALLEST
    zero = int(np.clip(np.rint(INT8.min - low / step), INT8.min, INT8.max))
    return Scale(step / divide_by, zero)


def symmetric(low: float, high: float, fmt: IntFormat) -> float:
    """Scale of codes with zero point 0 that hold [low, high]."""
    return max(high / fmt.max, low / fmt.min) or SMALLEST


def stream_scale(low: float, high: float, config: QuantConfig) -> Scale:
    """int16 with zero 0; or int8, with PTF the base scale: factor 3 spans the whole range."""
    if config.stream_width == 16:
        return Scale(symmetric(low, high, INT16) * HEADROOM)
    return asymmetric(low, high, 1 << PTF_MAX if config.ptf else 1)


def qkv_scale(low: np.ndarray, high: np.ndarray, config: QuantConfig) -> Scale:
    """low, high: (3 * H * D,), q | k | v -> symmetric int8, one scale per column."""
    parts = np.stack([low, high]).reshape(2, 3, -1)
    steps = [symmetric(part[0].min(), part[1].max(), INT8) for part in parts.transpose(1, 0, 2)]
    if config.qkv_scales == "shared":
        steps = [max(steps)] * 3
    return Scale(np.repeat(steps, parts.shape[2]))


def gelu_step(index_width: int) -> float:
    """2^index_width steps on [-4, 4)."""
    return 2.0 ** (3 - index_width)


def check_gelu_range(name: str, high: float, config: QuantConfig) -> None:
    limit = INT16.max * gelu_step(config.gelu_index_width)
    if high > limit:
        raise ValueError(
            f"{name}: pre-activations up to {high:.1f} exceed the {limit:.1f} of a "
            f"{config.gelu_index_width}-bit GELU index: choose a smaller gelu_index_width"
        )
