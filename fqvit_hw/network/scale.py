"""What a code stands for in real numbers. Calibration and reports use this, never an engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..attention_codes import MODES


@dataclass(frozen=True, eq=False, init=False)
class Scale:
    """real = scale * 2^factor * (code - zero) + offset; of attention codes what they stand for.

    codes: "", or the attention mode of the codes: value / unit, or value / row sum in a mode of the
    row's maximum
    scale, offset: float64 () or (C,), or of a shape that broadcasts against the codes; factor: PTF
    exponents () or (C,). The offset is 0 but where calibrate/fold.py has shifted a tensor. Float by
    nature: it belongs to the report on a network, not to the network.
    """

    scale: np.ndarray
    zero: int
    factor: np.ndarray
    codes: str
    offset: np.ndarray

    def __init__(
        self,
        scale: ArrayLike,
        zero: int = 0,
        factor: ArrayLike = 0,
        codes: str = "",
        offset: ArrayLike = 0,
    ):
        """Arrays are copied; a number or a list becomes one."""
        values = {
            "scale": np.array(scale, np.float64),
            "zero": zero,
            "factor": np.array(factor, np.uint8),
            "codes": codes,
            "offset": np.array(offset, np.float64),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def dequantize(self, codes) -> np.ndarray:
        """Integer codes (..., C) -> float32, same shape; its 24 bits suffice for a report."""
        if self.codes:
            mode = MODES[self.codes]
            values = np.array(mode.values, np.float32)[codes]  # sums of them stay below 2^24
            return values / (mode.unit or values.sum(-1, keepdims=True))
        step = (self.scale * np.exp2(self.factor)).astype(np.float32)
        offset = self.offset.astype(np.float32)
        return step * (codes.astype(np.float32) - np.float32(self.zero)) + offset
