"""GELU by table: one lookup, no arithmetic, on [-4, 4).

The pre-activation arrives as int16 in steps of 2^(3 - index_width): the table of 2^index_width
entries covers [-4, 4). From 4 on GELU is the identity (to 1.3e-4) and the code passes through a
requantize of the layer; below -4 it is 0 (to 1.3e-4) and gives the zero point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..formats import GELU_INDEX_WIDTHS, GELU_INPUT, INT8, require
from .params import array_field, scalar_in
from .requantize import Requantize, requantize


@dataclass(frozen=True, eq=False)
class Gelu:
    """table: int8 (2^index_width,), entry i for the pre-activation i - 2^(index_width - 1).

    linear: scalar requantize to 8 bits for pre-activations of 4 and more; its zero codes the 0.
    """

    index_width: int
    table: np.ndarray
    linear: Requantize

    def __post_init__(self):
        scalar_in(self, "index_width", 8, 12)
        if self.index_width not in GELU_INDEX_WIDTHS:
            raise ValueError(f"Gelu.index_width: expected one of {GELU_INDEX_WIDTHS}")
        array_field(self, "table", INT8, (1 << self.index_width,))
        if self.linear.width != 8 or self.linear.multiplier.shape != ():
            raise ValueError("Gelu.linear: expected one multiplier and 8 output bits")


def gelu(x, p: Gelu) -> np.ndarray:
    """x: int16 pre-activations, any shape -> int8 codes, same shape."""
    x = require(x, GELU_INPUT, "gelu: pre-activation").astype(np.int32)
    half = 1 << (p.index_width - 1)
    looked_up = p.table[(x + half).clip(0, 2 * half - 1)]
    y = np.where(x >= half, requantize(x, p.linear), looked_up)
    return np.where(x < -half, np.int8(p.linear.zero), y).astype(np.int8)
