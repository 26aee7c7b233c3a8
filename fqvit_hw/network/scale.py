"""What a code stands for in real numbers. Calibration and reports use this, never an engine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..formats import ZERO_CODE


@dataclass(frozen=True, eq=False)
class Scale:
    """real = scale * 2^factor * (code - zero) + offset; or 2^-code, 15 for 0, where `log2` is set.

    scale, offset: float64 () or (C,), or of a shape that broadcasts against the codes; factor: PTF
    exponents () or (C,). The offset is 0 but where calibrate/fold.py has shifted a tensor. Float by
    nature: it belongs to the report on a network, not to the network.
    """

    scale: np.ndarray
    zero: int = 0
    factor: np.ndarray = field(default_factory=lambda: np.zeros((), np.uint8))
    log2: bool = False
    offset: np.ndarray = field(default_factory=lambda: np.zeros(()))

    def __post_init__(self):
        object.__setattr__(self, "scale", np.array(self.scale, np.float64))
        object.__setattr__(self, "offset", np.array(self.offset, np.float64))
        object.__setattr__(self, "factor", np.array(self.factor, np.uint8))

    def dequantize(self, codes) -> np.ndarray:
        """Integer codes (..., C) -> float32, same shape; its 24 bits suffice for a report."""
        if self.log2:
            return np.where(codes == ZERO_CODE, 0, np.exp2(-codes.astype(np.float32))).astype(
                np.float32
            )
        step = (self.scale * np.exp2(self.factor)).astype(np.float32)
        offset = self.offset.astype(np.float32)
        return step * (codes.astype(np.float32) - np.float32(self.zero)) + offset
