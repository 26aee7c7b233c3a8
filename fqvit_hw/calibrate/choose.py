"""From observed ranges to the scale and zero point of every tensor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..config import QuantConfig
from ..errors import UserError
from ..formats import GELU_INDEX_WIDTHS, INT8, INT16, PTF_MAX, IntFormat
from ..network.scale import Scale
from ..network.step import Operation, Role, Step
from ..network.steps import VitSteps
from .exact import ordered_sum
from .float_steps import steps_of
from .observers import OBSERVERS, SHRINK, Histogram, Mean, MinMax, Range, observe
from .ptf import search_factors

HEADROOM = 2  # of 16-bit tensors: codes to spare, so other images may reach twice the range
SMALLEST = 2.0**-16  # scale of a tensor that is always zero


def calibrate(model, images, mean, std, config: QuantConfig):
    """-> scale and zero point of every step's tensor, and the mean of every input of a Linear, both
    by name.

    One pass over the images takes the ranges; those by least error need another, the PTF factors
    another.
    """
    steps = steps_of(model)
    inputs = {step.source for step in steps if step.operation is Operation.LINEAR}

    def observer(step: Step):
        found = (OBSERVERS[config.observer] if is_clipped(step, config) else MinMax)()
        return Mean(found) if step.name in inputs else found

    observers = observe(model, images, mean, std, observer)
    ranges = {step: observer.range for step, observer in observers.items()}
    searches = {step: search for step in ranges if (search := search_of(step, config))}
    if searches:
        histograms = observe(
            model, images, mean, std, lambda s: Histogram(ranges[s]) if s in searches else None
        )
        for step, histogram in histograms.items():
            search, centred = searches[step], step.role is Role.QKV
            ends = [search(*group, centred) for group in histogram.groups()]
            ranges[step] = Range(*np.transpose(ends))
    if isinstance(steps, VitSteps):  # the class token enters in the format of the patch embedding
        token = model.cls_token.detach().double().numpy()
        low, high = ranges[steps.patch_embed]
        ranges[steps.patch_embed] = Range(
            np.minimum(low, token.min()), np.maximum(high, token.max())
        )
    scales = {steps.image.name: Scale(1.0)}
    for step, found in ranges.items():
        # scales of logits follow from weights, those of attention maps from their mode
        if step.role not in (Role.LOGITS, Role.PROBABILITY):
            scales[step.name] = scale_of(step, found, config)
        if step.role is Role.QKV:  # one scale per column, as for every layer
            columns = model.get_submodule(step.block).attn.qkv.out_features
            scales[step.name] = Scale(np.repeat(scales[step.name].scale, columns // 3))
    if config.ptf and config.stream_width == 8:
        scales |= search_factors(model, images, mean, std, scales)
    return scales, {s.name: o.mean for s, o in observers.items() if isinstance(o, Mean)}


def is_clipped(step: Step, config: QuantConfig) -> bool:
    """Whether the observer of the configuration decides on the range of a tensor.

    PTF takes the stream's range from its extremes, in the paper too; 16 bits have codes to spare.
    The scales of attention maps, of what GELU reads and of the logits follow from no range.
    """
    if step.role is Role.BRANCH:
        return config.branch_width == 8
    free = (Role.STREAM, Role.PROBABILITY, Role.PRE_ACTIVATION, Role.LOGITS)
    return step.role not in free


def search_of(step: Step, config: QuantConfig) -> Callable[..., tuple[float, float]] | None:
    """The function that looks for the range of a tensor with the least squared error, or None."""
    if config.observer == "clipped-gelu" and step.role is Role.ACTIVATION:
        return cut_high_end
    return omse if config.observer == "omse" and is_clipped(step, config) else None


def omse(low, high, counts, x, centred) -> tuple[float, float]:
    """Both ends shrunk by the same factor, 1 to 0.11: the widest of those with the least error.

    low, high: the extremes; counts: of values x, a histogram; centred: the codes have zero point
    0, as q, k and v. The authors take the error of the last batch only, here it is that of all.
    """
    errors = [squared_error(counts, x, low * s, high * s, centred) for s in SHRINK]
    best = SHRINK[int(np.argmin(errors))]
    return low * best, high * best


def cut_high_end(low, high, counts, x, centred) -> tuple[float, float]:
    """The high end alone shrunk, 1 to 0.11: GELU's low end is -0.17, and its high end far away.

    Arguments as for omse; the smallest cut of those with the least error.
    """
    errors = [squared_error(counts, x, low, high * s, centred) for s in SHRINK]
    return low, high * SHRINK[int(np.argmin(errors))]


def squared_error(counts, x, low: float, high: float, centred: bool) -> float:
    """Summed over `counts` of values x, as int8 codes of [low, high] stand for them."""
    return float(ordered_sum(counts * np.square(rounded(x, low, high, centred) - x)))


def rounded(x: np.ndarray, low: float, high: float, centred: bool) -> np.ndarray:
    """x as int8 codes of [low, high] stand for it."""
    scale = Scale(symmetric(low, high, INT8)) if centred else asymmetric(low, high)
    codes = np.rint(x / float(scale.scale) + scale.zero).clip(INT8.min, INT8.max)
    return (codes - scale.zero) * float(scale.scale)


def scale_of(step: Step, found: Range, config: QuantConfig) -> Scale:
    """Scale and zero point of one tensor; the residual stream's factors are searched later."""
    low, high = found.low.min(), found.high.max()
    if step.role is Role.STREAM:
        return stream_scale(low, high, config)
    if step.role is Role.QKV:
        return qkv_scale(found, config)
    if step.role is Role.PRE_ACTIVATION:
        return Scale(gelu_step(gelu_width(step.name, high, config)))
    if step.role is Role.BRANCH and config.branch_width == 16:
        return Scale(symmetric(low, high, INT16) * HEADROOM)
    if step.role is Role.ACTIVATION:  # what lies far below a step of the index is zero
        return asymmetric(low, high, smallest=gelu_step(config.gelu_index_width) * 2.0**-14)
    return asymmetric(low, high)


def asymmetric(low: float, high: float, divide_by: int = 1, smallest: float = 0.0) -> Scale:
    """int8 codes over [low, high] and 0; the scale (not the zero point) divided by `divide_by`.

    smallest: what the scale is at least
    """
    low, high = min(low, 0.0), max(high, 0.0)
    step = max((high - low) / (INT8.max - INT8.min), smallest) or SMALLEST
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


def qkv_scale(found: Range, config: QuantConfig) -> Scale:
    """found: of q, k and v -> symmetric int8, one scale each or the largest for the three."""
    steps = [symmetric(low, high, INT8) for low, high in zip(*found, strict=True)]
    return Scale([max(steps)] * 3 if config.qkv_scales == "shared" else steps)


def gelu_step(index_width: int) -> float:
    """2^index_width steps on [-4, 4)."""
    return 2.0 ** (3 - index_width)


def gelu_width(name: str, high: float, config: QuantConfig) -> int:
    """The configuration's, or the next smaller one whose int16 input holds pre-activations up to
    `high`."""
    for width in sorted(GELU_INDEX_WIDTHS, reverse=True):
        limit = INT16.max * gelu_step(width)
        if width <= config.gelu_index_width and high <= limit:
            return width
    raise UserError(
        f"{name}: pre-activations up to {high:.1f} exceed the {limit:.1f} of the smallest GELU "
        f"index, {min(GELU_INDEX_WIDTHS)} bits"
    )
