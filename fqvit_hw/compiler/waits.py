"""The fewest waits that let a unit do what an instruction touches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..machine.isa import Unit
from .hazards import UNITS, Access, Tracker


@dataclass(frozen=True)
class Wait:
    """Until `unit` has counted to `count`, for row r to count + r * step. step: 0 or 1."""

    unit: Unit
    count: int
    step: int = 0

    def last(self, rows: int) -> int:
        """The count that the last row waits for."""
        return self.count + self.step * (rows - 1)


def needs(tracker: Tracker, accesses: Iterable[Access], rows: int) -> np.ndarray:
    """(UNITS, rows): the counts that each row needs.

    Every access has as many rows as the instruction, or its own are needed before the first one.
    """
    found = np.zeros((UNITS, rows), np.int64)
    for access in accesses:
        need = tracker.needs(access)
        if need.shape[1] == rows:
            found = np.maximum(found, need)
        else:
            found[:, 0] = np.maximum(found[:, 0], need.max(1))
    return found


def stepped(tracker: Tracker, unit: Unit, need: np.ndarray) -> Wait:
    """One wait for row r's need[r]: stepped by row where `unit` will count that far."""
    rows = len(need)
    first = int((need - np.arange(rows))[need > 0].max())
    reachable = first > 0 and first + rows - 1 <= tracker.counts[unit]
    if reachable and first < need.max():
        return Wait(unit, first, 1)
    return Wait(unit, int(need.max()))


def find(
    tracker: Tracker,
    accesses: Iterable[Access],
    rows: int,
    known: np.ndarray,
) -> list[Wait]:
    """What to wait for before the accesses. known: (UNITS,), the counts reached anyway.

    An instruction steps its first wait only: of several that could step one does, the others wait
    for their last row at once.
    """
    needed = needs(tracker, accesses, rows)
    wanted = {Unit(u): need for u, need in enumerate(needed) if need.max() > known[u]}
    found = {unit: stepped(tracker, unit, need) for unit, need in wanted.items()}
    for unit in list(found):  # leave out what another wait implies
        others = [wait for other, wait in found.items() if other is not unit]
        last = wanted[unit].max()
        if any(tracker.knowledge(w.unit, w.count)[unit] >= last for w in others):
            del found[unit]
    first, *rest = sorted(found.values(), key=lambda wait: -wait.step) or [None]
    whole = [Wait(wait.unit, int(wanted[wait.unit].max())) for wait in rest]
    return [first, *whole] if first else []


def advance(tracker: Tracker, unit: Unit, by: int, waits: Iterable[Wait], rows: int = 1) -> None:
    """`unit` counts `by` more; from now on it knows what its waits imply, those of its first row
    as soon as it begins, those of its last when it is done."""
    start = end = tracker.now(unit)
    for wait in waits:
        start = np.maximum(start, tracker.knowledge(wait.unit, wait.count))
        end = np.maximum(end, tracker.knowledge(wait.unit, wait.last(rows)))
    tracker.advance(unit, by, start, np.maximum(start, end))
