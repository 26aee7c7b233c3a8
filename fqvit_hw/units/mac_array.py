"""What the MAC array computes: int8 dot products, and BitShift dot products without a multiplier.

The array accumulates in int32. It cannot overflow: `matmul` checks the worst case of its weights
before it multiplies, whatever the activations are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..formats import (
    ACC,
    BITSHIFT_ACC,
    BITSHIFT_FRACTION,
    CODE,
    INT8,
    INT32,
    OPERAND,
    ZERO_CODE,
    require,
)
from .params import array_field


@dataclass(frozen=True, eq=False)
class Linear:
    """weight: int8 (out, in); bias: int32 (out,), the input's zero point already folded in."""

    weight: np.ndarray
    bias: np.ndarray

    def __post_init__(self):
        weight = array_field(self, "weight", INT8)
        if weight.ndim != 2:
            raise ValueError(f"Linear.weight: expected (out, in), got shape {weight.shape}")
        array_field(self, "bias", INT32, (weight.shape[0],))


def worst_accumulator(weight, bias, largest: int) -> np.ndarray:
    """max over all activations with |a| <= largest of any partial sum: |bias| + largest*sum|w|.

    weight: int (..., out, in); bias: int (out,) or 0. Returns int64 (..., out).
    """
    return np.abs(np.asarray(bias, np.int64)) + largest * np.abs(weight.astype(np.int64)).sum(-1)


def matmul(a, weight, bias: np.ndarray | int = 0) -> np.ndarray:
    """a: int8 or uint8 codes (..., n, k); weight: int8 (..., out, k) -> int32 (..., n, out).

    Leading dimensions of a and weight are equal, or weight is 2-D. Raises TypeError for operands
    that are not integers, OverflowError when the weights could overflow the accumulator.
    """
    a = require(a, OPERAND, "matmul: operand")
    weight = require(weight, INT8, "matmul: weight")
    bias = require(bias, INT32, "matmul: bias")
    largest = int(np.abs(a.astype(np.int16)).max(initial=0))
    require(worst_accumulator(weight, bias, largest), ACC, "matmul: worst accumulator")
    k = "...nk,ok->...no" if weight.ndim == 2 else "...nk,...ok->...no"
    # einsum is four times faster when the rows of both operands are contiguous
    acc = np.einsum(k, np.ascontiguousarray(a, np.int32), np.ascontiguousarray(weight, np.int32))
    return acc + np.asarray(bias, np.int32)


def bitshift_matmul(codes, v) -> np.ndarray:
    """Attention x V by shift and add: acc[n, d] = sum over j of v[j, d] * 2^(14 - code[n, j]).

    codes: uint4 (..., n, m), 15 contributes nothing; v: int8 (..., m, d) -> int32 (..., n, d) in
    units of 2^-14 v steps. `V >> code` per element, as in the paper's figure, would lose low bits.
    Raises OverflowError if a sum leaves 23 bits (no row of `softmax` codes can).
    """
    codes = require(codes, CODE, "bitshift: code").astype(np.int32)
    v = require(v, INT8, "bitshift: value").astype(np.int32)
    weight = np.where(codes == ZERO_CODE, 0, np.int32(1) << (BITSHIFT_FRACTION - codes).clip(0))
    # partial sums are bounded by 128 * sum(weight), so this also guards the order of addition
    require(128 * weight.sum(-1, dtype=np.int64), BITSHIFT_ACC, "bitshift: worst accumulator")
    vt = np.ascontiguousarray(np.swapaxes(v, -1, -2))  # (..., m, d) -> (..., d, m): fast einsum
    return np.einsum("...nm,...dm->...nd", weight, vt)
