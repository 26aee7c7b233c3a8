"""Arithmetic with the same bits on every processor: the float network of calibration is made of it.

A sum of floats depends on its order, and the order on the library, on the width of the vectors and
on the number of threads; a function such as exp depends on who wrote it. What rounds in one way
only is a single +, -, *, / or square root of IEEE 754. So everything here is

- one such operation on every element at a time, each a call of its own, so that no compiler makes
  a fused multiply-add of two of them;
- a sum in an order that is written down, `ordered_sum`;
- or a product of matrices without any rounding, `product`: whatever the order, nothing is lost.

All tensors are float64. None of the results depends on how images were cut into batches.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

import numpy as np
import torch

CHUNK = 1 << 15  # elements: they stay in the cache, and torch takes one thread for them
NORM_BITS = 26  # of each operand of a product
SMALLEST_NORM = 2.0**-400  # below it a row counts as 0: products of two must not be subnormal
EXPONENT_BITS = 0x7FF << 52

EXP_STEP, EXP_END = 2.0**-10, -32.0  # of the table of exponentials: e^-32 = 1e-14 stands for less
PHI_STEP, PHI_END = 2.0**-9, 8.0  # of the table of normal probabilities: 1 - Phi(8) = 6e-16


def ordered_sum(x: Any, dim: int = -1) -> Any:
    """x: float64, torch or numpy -> the sum along one dimension, from the first to the last: a
    running sum has one order only."""
    return x.cumsum(dim).swapaxes(0, dim)[-1]


def by_rows(function: Callable[..., Any], x: torch.Tensor) -> torch.Tensor:
    """x: (..., C) -> function(rows, out=) of it, some rows at a time, each by itself."""
    rows = x.reshape(-1, x.shape[-1])
    some = max(1, CHUNK // max(1, rows.shape[1]))
    found = torch.empty_like(rows)
    for part, out in zip(rows.split(some), found.split(some), strict=True):
        function(part, out=out)
    return found.view(x.shape)


def root(x: torch.Tensor) -> torch.Tensor:
    """The float64 nearest to the square root. numpy asks the processor, whose root is that; torch
    asks MKL, which on some processors (Intel's with AMX) is a bit beside it."""
    return torch.from_numpy(np.sqrt(x.numpy()))


# --- products


def on_grid(x: torch.Tensor, out=None) -> torch.Tensor:
    """x: (rows, K) -> each row in whole steps of 2^-26 times a power of two above its norm."""
    norm = root(ordered_sum(x * x)).clamp_(min=SMALLEST_NORM)
    power = (norm.view(torch.int64) & EXPONENT_BITS).view(torch.float64)  # in (norm / 2, norm]
    # the float64 from 2^52 to 2^53 are whole numbers: adding 1.5 * 2^52 steps rounds to a step
    magic = (power * (2 * 1.5 * 2.0 ** (52 - NORM_BITS)))[:, None]
    return torch.sub(x + magic, magic, out=out)


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a: (..., M, K), b: (..., N, K) -> a @ b^T, (..., M, N), of a and b on their grids, exactly.

    In steps of their rows' grids a and b are whole numbers, and so is every product and every sum
    of products; by Cauchy and Schwarz each, of some of the terms too, is at most |a| |b|, which is
    below 2^26 * 2^26 times (1 + sqrt(K) * 2^-27)^2, K for what the rounding adds: below 2^53 for K
    up to 2^50. float64 holds these without rounding. What the grids cost is noise, at least 122 dB
    below the signal (K = 4096; 10 log10(K) less for others).
    """
    return by_rows(on_grid, a) @ by_rows(on_grid, b).transpose(-2, -1)


def linear(x: torch.Tensor, layer) -> torch.Tensor:
    """x: (..., in); layer: a Linear or a convolution of one patch, with or without bias -> (...,
    out)"""
    y = product(x.reshape(-1, x.shape[-1]), layer.weight.flatten(1).double())
    if layer.bias is not None:
        y = by_rows(functools.partial(torch.add, layer.bias.double()), y)
    return y.reshape(*x.shape[:-1], -1)


# --- functions


def layer_norm(x: torch.Tensor, layer) -> torch.Tensor:
    """x: (..., C); layer: an affine LayerNorm, with or without bias -> (..., C)"""
    gamma = layer.weight.double()
    beta = torch.zeros_like(gamma) if layer.bias is None else layer.bias.double()

    def normalized(rows, out):
        rows = rows - (ordered_sum(rows) / rows.shape[1])[:, None]
        variance = ordered_sum(rows * rows) / rows.shape[1]
        rows.div_(root(variance + layer.eps)[:, None]).mul_(gamma)
        torch.add(rows, beta, out=out)

    return by_rows(normalized, x)


def softmax(x: torch.Tensor) -> torch.Tensor:
    """x: (..., N), -inf where masked -> (..., N)"""

    def normalized(rows, out):
        rows = exponential(rows - rows.amax(1, keepdim=True))
        torch.div(rows, ordered_sum(rows)[:, None], out=out)

    return by_rows(normalized, x)


def gelu(x: torch.Tensor) -> torch.Tensor:
    """x Phi(x), Phi the normal distribution."""
    return by_rows(lambda rows, out: torch.mul(probability(rows), rows, out=out), x)


def exponential(x: torch.Tensor) -> torch.Tensor:
    """x: at most 0 -> e^x, to 2e-11 of it, and to 1e-14 below -32.

    The nearest entry of a table and three terms of the series around it: d^3 / 6 is left over,
    d up to 2^-11.
    """
    index, d = nearest(x.clamp(EXP_END, 0.0), EXP_STEP, EXP_END)
    series = (d * 0.5).add_(1.0).mul_(d).add_(1.0)
    return series.mul_(entries(exp_table(), index))


def probability(x: torch.Tensor) -> torch.Tensor:
    """Phi(x), to 1e-10.

    The nearest entry x0 of a table and Phi' = phi, Phi'' = -x0 phi: phi (x0^2 - 1) d^3 / 6 is left
    over, d up to 2^-10.
    """
    x = x.clamp(-PHI_END, PHI_END)
    index, d = nearest(x, PHI_STEP, -PHI_END)
    distribution, density = phi_tables()
    series = (x - d).mul_(d).mul_(-0.5).add_(1.0).mul_(d)
    return series.mul_(entries(density, index)).add_(entries(distribution, index))


def nearest(x: torch.Tensor, step: float, start: float) -> tuple[torch.Tensor, torch.Tensor]:
    """step: a power of two -> int64 number of the nearest start + i * step, and x less that."""
    magic = 1.5 * 2.0**52 * step
    moved = x + magic  # a whole number of steps, as in on_grid: its last bits count them
    first = int(np.float64(start + magic).view(np.int64))
    return moved.view(torch.int64) - first, x - (moved - magic)


def entries(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return table.index_select(0, index.flatten()).view(index.shape)


def exp(x: float) -> float:
    """e^x, rounded correctly, by decimal: that of a C library may differ in its last bit."""
    return float(Context(prec=30).exp(Decimal(x)))


@functools.cache
def exp_table() -> torch.Tensor:
    """e^x from -32 to 0: a product of two, e^whole and e^fraction, each rounded correctly."""
    steps = round(1 / EXP_STEP)
    whole = np.array([exp(i) for i in range(int(EXP_END), 1)])
    fraction = np.array([exp(i / steps) for i in range(steps)])
    table = (whole[:, None] * fraction).ravel()
    return torch.from_numpy(table[: len(table) - steps + 1].copy())


@functools.cache
def phi_tables() -> tuple[torch.Tensor, torch.Tensor]:
    """Phi and its derivative phi from -8 to 8. Phi is the integral, by Simpson's rule."""
    x = torch.arange(-PHI_END, PHI_END + PHI_STEP / 2, PHI_STEP / 2, dtype=torch.float64)
    density = exponential(-(x * x) / 2) / math.sqrt(2 * math.pi)
    ends, middles = density[::2], density[1::2]
    areas = (ends[:-1] + 4 * middles + ends[1:]) * (PHI_STEP / 6)
    distribution = list(itertools.accumulate(areas.tolist(), initial=0.0))
    return torch.tensor(distribution, dtype=torch.float64), ends.contiguous()
