"""How calibration takes the scale of an activation from the batches that it sees.

`update(x)` for every batch, then `uniform(x)` with the last one. The range is that of the whole
tensor, also where the result has a factor per channel.
"""

from __future__ import annotations

import numpy as np
import torch

from .fake_quant import Uniform

MOMENTUM = 0.01  # of the running means: ten batches leave the first one 91 % of the weight
TAIL = 1 - 0.99999  # the fraction of values that "percentile" cuts off at either end
SHRINKAGES = [1.0 - 0.01 * i for i in range(90)]  # the ranges that "omse" tries
FACTORS = (1, 2, 4, 8)
QUANTILE_LIMIT = 1 << 24  # elements that torch.quantile accepts


class MinMax:
    """The extremes of all batches. low, high: of those so far, from the first `update` on."""

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self):
        self.empty = True

    def update(self, x: torch.Tensor) -> None:
        low, high = self.limits(x)
        self.low, self.high = (low, high) if self.empty else self.merge(low, high)
        self.empty = False

    def limits(self, x):
        return torch.aminmax(x)

    def merge(self, low, high):
        return torch.minimum(low, self.low), torch.maximum(high, self.high)

    def uniform(self, x: torch.Tensor) -> Uniform:
        return Uniform.of_range(self.low, self.high)


class Ema(MinMax):
    """A running mean of each batch's extremes."""

    def merge(self, low, high):
        return self.low + MOMENTUM * (low - self.low), self.high + MOMENTUM * (high - self.high)


class Percentile(Ema):
    """A running mean of each batch's outermost percentiles."""

    def limits(self, x):
        values = x.flatten()
        if values.numel() <= QUANTILE_LIMIT:
            return torch.quantile(values, TAIL), torch.quantile(values, 1 - TAIL)
        found = np.percentile(values.numpy(), [100 * TAIL, 100 * (1 - TAIL)])
        return tuple(torch.tensor(v, dtype=torch.float32) for v in found)


class Omse(MinMax):
    """Of 90 ranges, the extremes shrunk by 0 to 89 %, the one that suits the last batch best."""

    def uniform(self, x):
        candidates = [Uniform.of_range(self.low * s, self.high * s) for s in SHRINKAGES]
        errors = [(x - c.fake_quantize(x)).square().mean() for c in candidates]
        return candidates[int(torch.stack(errors).argmin())]


class PowerOfTwoFactors(MinMax):
    """PTF: each channel of the last batch takes the factor with the least squared error.

    The factors multiply an eighth of the scale that the whole range needs; the smallest wins a tie.
    """

    def uniform(self, x):
        whole = Uniform.of_range(self.low, self.high)
        finest = whole.scale / 8
        least, factor = None, torch.ones(x.shape[-1])
        for candidate in FACTORS:
            scaled = Uniform(finest * candidate, whole.zero)
            error = (x - scaled.fake_quantize(x)).square().flatten(0, -2).mean(0)
            better = torch.zeros(len(error), dtype=torch.bool) if least is None else error < least
            factor = torch.where(better, float(candidate), factor)
            least = error if least is None else torch.minimum(least, error)
        return Uniform(finest * factor, whole.zero)


BY_NAME = {"minmax": MinMax, "ema": Ema, "percentile": Percentile, "omse": Omse}
