"""A few milliseconds of extremes and odd sizes: compiled kernels are trusted after this only.

The tests go further; this guards against a compiler or CPU on which they never ran.
"""

from __future__ import annotations

import numpy as np

from ...units import Attention, Gelu, LayerNorm, Linear, Requantize, Residual, Softmax
from ..numpy_ops import NumpyOps


def mismatch(ops) -> str | None:
    """The first operation in which `ops` differs from the units, None if there is none."""
    spec = NumpyOps()
    for name, arguments in cases(np.random.default_rng(0)):
        expected, got = {}, {}
        for one, seen in ((spec, expected), (ops, got)):
            keywords = {"record": seen.__setitem__} if name in ("linear", "attention") else {}
            seen["result"] = getattr(one, name)(*arguments, **keywords)
        for part, tensor in expected.items():
            same = tensor.dtype == got[part].dtype and np.array_equal(tensor, got[part])
            if not same:
                return f"{name}, {part}"
    return None


def codes(rng, *shape, width=8) -> np.ndarray:
    """Random codes with both extremes among them."""
    x = rng.integers(-(1 << (width - 1)), 1 << (width - 1), shape).astype(f"int{width}")
    x.flat[0], x.flat[-1] = -(1 << (width - 1)), (1 << (width - 1)) - 1
    return x


def scaling(rng, channels, shift, width, zero=0) -> Requantize:
    multiplier = rng.integers(1 << 15, 1 << 16, channels)
    if channels:
        multiplier[0] = 0  # a dead channel
    return Requantize(multiplier, np.full(np.shape(multiplier), shift), zero, width)


def cases(rng):
    """(operation, arguments), as NumpyOps takes them."""
    rows, inputs, outputs = 53, 37, 41
    x = codes(rng, rows, inputs)
    layer = Linear(codes(rng, outputs, inputs), rng.integers(-(1 << 20), 1 << 20, outputs))
    for shift, width in ((27, 8), (17, 16), (1, 32)):
        yield "linear", (x, layer, scaling(rng, outputs, shift, width, 5))
    wide = scaling(rng, outputs, 19, 16)
    gelu = Gelu(10, codes(rng, 1024), scaling(rng, (), 20, 8, -77))
    yield "linear_gelu", (x, layer, wide, gelu)
    yield "gelu", (codes(rng, 999, width=16), gelu)
    factor = rng.integers(0, 4, outputs)
    none = np.zeros_like(factor)
    for add in (
        Residual(8, -9, factor, 50000, 16, 0, 120000, 21, 8, 17, factor[::-1]),
        Residual(16, 0, none, 131071, 16, 0, 70000, 17, 16, 0, none),
    ):
        stream = codes(rng, rows, outputs, width=add.x_width)
        yield "linear_residual", (x, layer, wide, stream, add)
        yield "residual", (stream, codes(rng, rows, outputs, width=16), add)
    gamma, beta = codes(rng, outputs, width=16), rng.integers(-(1 << 17), 1 << 17, outputs)
    for width, zero, factors in ((8, -128, factor), (16, 0, none)):
        norm = LayerNorm(factors, zero, width, 12345, gamma, 9, beta, -3)
        yield "layernorm", (codes(rng, rows, outputs, width=width), norm)
    heads, tokens, size = 2, 35, 7
    qkv = codes(rng, 2, 3, tokens, 3 * heads * size)
    bias = rng.integers(-30000, 30000, (heads, tokens, tokens)).astype(np.int32)
    mask = rng.random((3, tokens, tokens)) < 0.3
    mask[..., 0] = False
    table = np.round(np.exp(-0.06 * np.arange(256)) * (1 << 23)).astype(np.int64)
    codes_of_maximum = np.r_[0, rng.integers(0, 16, 255)]
    for softmax in (
        Softmax(codes_of_maximum, "max4"),
        Softmax(table),
        Softmax(table, row_norm=False),
        Softmax(table, "uniform8", False),
    ):
        p = Attention(scaling(rng, (), 24, 8, 3), softmax, scaling(rng, (), 30, 8, -2))
        yield "attention", (qkv, heads, p)
        yield "attention", (qkv, heads, p, bias, mask)
