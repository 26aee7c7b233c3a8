"""One attention layer, all heads: Q x K^T, requantize, softmax, attention x V, requantize."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..formats import ACC, CONTEXT_ACC, require, rshift_round
from .mac_array import bitshift_matmul, matmul
from .requantize import Requantize, requantize
from .softmax import Softmax, row_reciprocal, softmax, values


@dataclass(frozen=True, eq=False)
class Attention:
    """score: scalar requantize of the Q x K^T accumulator to int8; 1 / sqrt(D) lies in it.

    context: scalar requantize of the attention x V accumulator to int8; the 2^-14 of BitShift and
    of a normalized row (or the 1 / 255 of uniform8) lies in it.
    """

    score: Requantize
    softmax: Softmax
    context: Requantize

    def __post_init__(self):
        for name in ("score", "context"):
            p = getattr(self, name)
            if p.width != 8 or p.multiplier.shape != ():
                raise ValueError(f"Attention.{name}: expected one multiplier and 8 output bits")


def attention(q, k, v, p: Attention, bias=None, mask=None, record=lambda name, tensor: None):
    """q, k, v: int8 (..., N, D), zero point 0 -> context int8 (..., N, D).

    bias: int32 (..., N, N) added to the score accumulators (Swin's relative position bias);
    mask: bool (..., N, N), True where a pair is left out. record(name, tensor) sees the tensors
    between the units. Raises OverflowError if an accumulator could leave its width.
    """
    acc = matmul(q, k)
    if bias is not None:
        acc = require(acc.astype(np.int64) + bias, ACC, "attention: score").astype(np.int32)
    record("score.acc", acc)
    scores = requantize(acc, p.score)
    record("score", scores)
    codes = softmax(scores, p.softmax, mask)
    record("softmax", codes)
    if p.softmax.mode == "lis4":
        acc = bitshift_matmul(codes, v)
    else:
        acc = matmul(values(codes, p.softmax.codes), np.ascontiguousarray(np.swapaxes(v, -1, -2)))
    record("context.acc", acc)
    if p.softmax.row_norm:
        reciprocal, shift = row_reciprocal(codes, p.softmax.codes)
        record("row_reciprocal", reciprocal)
        record("row_shift", shift)
        acc = normalize_rows(acc, reciprocal, shift)
        record("context.normalized", acc)
    context = requantize(acc, p.context)
    record("context", context)
    return context


def normalize_rows(acc, reciprocal, shift) -> np.ndarray:
    """acc: int28 (..., N, D), sums of values times v -> int23, their means in units of 2^-14 steps.

    reciprocal, shift: of their rows (softmax.row_reciprocal). |acc| <= 128 W and reciprocal <=
    2^(L + 15) / W, so that |result| <= 2^21.
    """
    scaled = rshift_round(acc.astype(np.int64) * reciprocal, shift)
    return require(scaled, CONTEXT_ACC, "attention: normalized context")
