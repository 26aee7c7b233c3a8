"""What a code stands for in real numbers. Calibration and reports use this, never an engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..formats import ZERO_CODE


@dataclass(frozen=True, eq=False, init=False)
class Scale:
    """real = scale * 2^factor * (code - zero) + offset; or 2^-code, 15 for 0, where `log2` is set.

    scale, offset: float64 () or (C,), or of a shape that broadcasts against the codes; factor: PTF
    exponents () or (C,). The offset is 0 but where calibrate/fold.py has shifted a tensor. Float by
    nature: it belongs to the report on a network, not to the network.
    """

    scale: np.ndarray
    zero: int
    factor: np.ndarray
    log2: bool
    offset: np.ndarray

    def __init__(
        self,
        scale: ArrayLike,
        zero: int = 0,
        factor: ArrayLike = 0,
        log2: bool = False,
        offset: ArrayLike = 0,
    ):
        """Arrays are copied; a number or a list becomes one."""
        values = {
            "scale": np.array(scale, np.float64),
            "zero": zero,
            "factor": np.array(factor, np.uint8),
            "log2": log2,
            "offset": np.array(offset, np.float64),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def dequantize(self, codes) -> np.ndarray:
        """Integer codes (..., C) -> float32, same shape; its 24 bits suffice for a report."""
        if self.log2:
            return np.where(codes == ZERO_CODE, 0, np.exp2(-codes.astype(np.float32))).astype(
                np.float32
            )
        step = (self.scale * np.exp2(self.factor)).astype(np.float32)
        offset = self.offset.astype(np.float32)
        return step * (codes.astype(np.float32) - np.float32(self.zero)) + offset
