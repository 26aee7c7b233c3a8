"""The checked-in golden cases of a block, for its bench."""

from __future__ import annotations

from fqvit_hw.cases import Case


def golden_cases(unit: str) -> list[Case]:
    """All cases of `unit` in golden/, in manifest order."""
    return []
