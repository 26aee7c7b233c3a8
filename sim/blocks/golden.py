"""The golden cases of a block, for its bench: those of golden/, or of FQVIT_GOLDEN."""

from __future__ import annotations

from fqvit_hw.vectors import files as vectors
from fqvit_hw.vectors.cases import Case

from .request import golden_folder


def golden_cases(unit: str) -> list[Case]:
    """All cases of `unit`, in manifest order. Raises ValueError if they are damaged or missing."""
    return vectors.load(golden_folder(), unit)
