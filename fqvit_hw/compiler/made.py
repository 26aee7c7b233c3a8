"""What an instruction makes, in the words of the integer model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Made:
    """What an instruction makes in one unit: tensor[index][rows, columns] of QuantizedModel.trace.

    columns beyond the tensor's are padding and 0 (`padding` of them).
    """

    tensor: str
    index: tuple[int, ...]
    rows: tuple[int, int]
    columns: tuple[int, int]
    padding: int = 0

    def expected(self, trace: dict[str, np.ndarray]) -> np.ndarray:
        """(rows, columns) out of a trace."""
        whole = trace[self.tensor][self.index]
        if whole.ndim == 1:
            whole = whole[None]
        part = whole[slice(*self.rows), slice(*self.columns)]
        return np.pad(part, ((0, 0), (0, self.padding)))
