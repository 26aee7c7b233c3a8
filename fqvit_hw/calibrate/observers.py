"""Ranges of the int8 activations: running min-max, moving averages, percentiles, least error.

Each observer sees the float tensors of one step batch after batch, and keeps only what it needs.
A group of values has one scale: a whole tensor, or a third of the columns of q, k and v. The
results do not depend on how the images were cut into batches. FQ-ViT section 4.1 names the four
methods; their constants are those of megvii-research/FQ-ViT, models/ptq/observer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from ..network.step import Role, Step
from .exact import ordered_sum
from .float_steps import columns, float_steps, normalize, tokens

TOKENS = 800  # at a time, 4 images of DeiT: more would leave the processor's caches
GROUP = 10  # images of one step of a moving average
SIGMA = 0.01  # weight of the newest step in a moving average
ALPHA = 0.99999  # the percentile
BINS = 1 << 13  # of a histogram: 32 in one of 255 steps
SHRINK = 1 - np.arange(90) / 100  # of both ends of the range: what omse tries


class Range(NamedTuple):
    """low, high: float64 (groups,)"""

    low: np.ndarray
    high: np.ndarray


def all_steps(model, images, mean, std) -> Iterator[tuple[Step, torch.Tensor]]:
    """(step, tensor) of every batch of uint8 images (B, C, H, W), one after the other."""
    batch = max(1, TOKENS // tokens(model))
    for start in range(0, len(images), batch):
        yield from float_steps(model, normalize(images[start : start + batch], mean, std))


def extremes(x: torch.Tensor) -> Range:
    """x: float (..., groups, columns) -> the least and the largest value of each group."""
    found = [torch.aminmax(x[..., group, :]) for group in range(x.shape[-2])]
    return Range(*(np.array([float(end) for end in ends]) for ends in zip(*found, strict=True)))


class MinMax:
    """Smallest and largest value over all images."""

    def __init__(self):
        self.range = None

    def update(self, x: torch.Tensor) -> None:
        """x: float (B, ..., groups, columns), B images."""
        new, old = extremes(x), self.range
        self.range = new if old is None else Range(*widest(old, new))


def widest(a: Range, b: Range) -> tuple[np.ndarray, np.ndarray]:
    return np.minimum(a.low, b.low), np.maximum(a.high, b.high)


class MovingAverage:
    """Steps of GROUP images each: range += SIGMA * (range of the step - range), the first as it is.

    The authors' steps are their batches, 10 of 100 images; with the 100 images of the paper these
    are 10 of 10. Subclasses say what is kept of the step so far, and its range.
    """

    def __init__(self):
        self.average: Range | None = None
        self.kept, self.seen = None, 0

    def keep(self, kept, x: torch.Tensor):
        """What is left of `kept`, None at first, and of the values x (B, ..., groups, columns)."""
        raise NotImplementedError

    def range_of(self, kept) -> Range:
        raise NotImplementedError

    def update(self, x: torch.Tensor) -> None:
        """x: float (B, ..., groups, columns), B images."""
        while len(x):
            part, x = x[: GROUP - self.seen], x[GROUP - self.seen :]
            self.kept = self.keep(self.kept, part)
            self.seen += len(part)
            if self.seen == GROUP:
                self.average, self.kept, self.seen = self.averaged(), None, 0

    def averaged(self) -> Range:
        new, old = self.range_of(self.kept), self.average
        if old is None:
            return new
        return Range(*(o + SIGMA * (n - o) for o, n in zip(old, new, strict=True)))

    @property
    def range(self) -> Range:
        """What is left over after the last whole step is a step too."""
        return self.averaged() if self.seen or self.average is None else self.average


class Ema(MovingAverage):
    """Moving average of the extremes of the steps."""

    def keep(self, kept, x):
        new = extremes(x)
        return new if kept is None else Range(*widest(kept, new))

    def range_of(self, kept) -> Range:
        return kept


class Percentile(MovingAverage):
    """Moving average of the values that a fraction 1 - ALPHA of the step lies beyond.

    Between two values it is interpolated linearly. Of a step only the tails are kept.
    """

    def keep(self, kept, x):
        """kept: values so far, and the tails (groups, n) of -x and of x, largest first."""
        values = x.movedim(-2, 0).flatten(1)  # (groups, values)
        count, tails = kept if kept else (0, [values[:, :0]] * 2)
        longest = int((1 - ALPHA) * GROUP * (values.shape[1] // len(x))) + 2  # for a whole step
        found = []
        for tail, new in zip(tails, (-values, values), strict=True):
            both = torch.cat([tail, new.topk(min(longest, new.shape[1]), dim=1).values], dim=1)
            found.append(both.topk(min(longest, both.shape[1]), dim=1).values)
        return count + values.shape[1], found

    def range_of(self, kept) -> Range:
        count, (low, high) = kept
        low, high = (tail_quantile(t.double().numpy(), count) for t in (low, high))
        return Range(-low, high)


def tail_quantile(tail: np.ndarray, count: int) -> np.ndarray:
    """tail: the largest of `count` values, (groups, n), largest first -> quantile ALPHA."""
    place = (1 - ALPHA) * (count - 1)  # counted from the largest
    before = int(place)
    after = min(before + 1, tail.shape[1] - 1)
    return tail[:, before] + (place - before) * (tail[:, after] - tail[:, before])


class Histogram:
    """Counts of the values in BINS equal parts of a known range, as of MinMax."""

    def __init__(self, known: Range):
        self.low, self.high = known
        self.counts = np.zeros((len(known.low), BINS), np.int64)

    def update(self, x: torch.Tensor) -> None:
        """x: float (B, ..., groups, columns), B images."""
        for group in range(len(self.low)):
            low, high = float(self.low[group]), float(self.high[group])
            width = (high - low) / BINS or 1.0
            bins = ((x[..., group, :] - low) * (1 / width)).int().clamp_(0, BINS - 1)
            self.counts[group] += torch.bincount(bins.flatten(), minlength=BINS).numpy()

    def groups(self) -> Iterator[tuple[float, float, np.ndarray, np.ndarray]]:
        """low, high, counts and the centres of the bins that are not empty, of each group."""
        for low, high, counts in zip(self.low, self.high, self.counts, strict=True):
            (filled,) = counts.nonzero()
            yield low, high, counts[filled], low + (filled + 0.5) * ((high - low) / BINS)


class Mean:
    """Mean of every column over all images, and of what `observer` observes beside it."""

    def __init__(self, observer):
        self.observer, self.count = observer, 0
        self.total = np.zeros(())

    def update(self, x: torch.Tensor) -> None:
        """x: float (B, ..., groups, columns), B images."""
        self.observer.update(x)
        rows = x.reshape(len(x), -1, x.shape[-2] * x.shape[-1])  # (B, values, groups * columns)
        for image in ordered_sum(rows, 1).numpy():
            self.total = self.total + image
        self.count += rows.shape[0] * rows.shape[1]

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.count

    @property
    def range(self) -> Range:
        return self.observer.range


OBSERVERS = {
    "minmax": MinMax,
    "ema": Ema,
    "percentile": Percentile,
    "omse": MinMax,  # whose extremes are then cut, as GELU's of clipped-gelu: choose.py
    "clipped-gelu": MinMax,
}


def observe(model, images, mean, std, make: Callable[[Step], Any]) -> dict[Step, Any]:
    """One pass: make(step) -> an observer, or None; returns the observers by step.

    Of q | k | v every observer sees three groups, of any other tensor one. The context comes as
    the projection takes it, all heads side by side.
    """
    observers: dict = {}
    for step, tensor in all_steps(model, images, mean, std):
        if step not in observers:
            observers[step] = make(step)
        if observers[step] is not None:
            groups = 3 if step.role is Role.QKV else 1
            observers[step].update(columns(step, tensor).unflatten(-1, (groups, -1)))
    return {step: observer for step, observer in observers.items() if observer is not None}
