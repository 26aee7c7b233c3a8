"""Who must wait for whom: the counts that an instruction's waits need, found from what it touches.

Units run side by side. Before an instruction reads a word its writer must be done; before it writes
one, its writer and all readers. `Tracker` remembers for every word of every memory the count at
which each unit is done with it, and for every unit what it knows to be done at each of its own
counts, so that a wait which others imply is left out.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field, replace

import numpy as np

from ..machine.isa import Unit
from .patterns import Pattern, Place

UNITS = len(Unit)


@dataclass
class Access:
    """One unit's touching of one memory. words: int (rows, n); done: int (rows,) or (rows, n), the
    unit's count from which on it is over."""

    place: Place
    words: np.ndarray
    write: bool
    done: np.ndarray | None = None

    @classmethod
    def of(cls, pattern: Pattern, rows: int, write: bool) -> Access:
        """What the first rows of a pattern touch."""
        return cls(pattern.place, pattern.addresses(rows), write)

    @property
    def at_once(self) -> Access:
        """The same, of a unit that waits once for all rows."""
        return replace(self, words=self.words.reshape(1, -1))


@dataclass
class Segment:
    """A stretch of a unit's counts up to `last`: what is known (counts of all units) as soon as one
    of them is reached (`start`), and when the last is (`end`)."""

    last: int
    start: np.ndarray
    end: np.ndarray


@dataclass
class Tracker:
    sizes: dict[Place, int]
    segments: dict[Unit, list[Segment]] = field(default_factory=lambda: {u: [] for u in Unit})
    counts: np.ndarray = field(default_factory=lambda: np.zeros(UNITS, np.int64))

    def __post_init__(self):
        self.written = {s: np.zeros((UNITS, n), np.int64) for s, n in self.sizes.items()}
        self.read = {s: np.zeros((UNITS, n), np.int64) for s, n in self.sizes.items()}

    def needs(self, access: Access) -> np.ndarray:
        """(UNITS, rows): what must be reached before each row."""
        found = self.written[access.place][:, access.words].max(-1)
        if access.write:
            found = np.maximum(found, self.read[access.place][:, access.words].max(-1))
        return found

    def touch(self, unit: Unit, access: Access) -> None:
        """The access is over once `unit` counts to access.done."""
        assert access.done is not None
        done = np.broadcast_to(
            access.done if access.done.ndim == 2 else access.done[:, None], access.words.shape
        )
        if access.write:
            # whoever waits for the new value waits for all that it waited for
            self.read[access.place][:, access.words] = 0
            self.written[access.place][:, access.words] = 0
            self.written[access.place][unit, access.words] = done
        else:
            np.maximum.at(self.read[access.place][unit], access.words, done)

    def knowledge(self, unit: Unit, count: int) -> np.ndarray:
        """What is done when `unit` has reached `count`."""
        known = np.zeros(UNITS, np.int64)
        if unit is not Unit.NONE and count > 0:
            segments = self.segments[unit]
            at = bisect.bisect_left(segments, count, key=lambda s: s.last)
            known = segments[at].end if segments[at].last == count else segments[at].start
            known = known.copy()
            known[unit] = max(known[unit], count)
        return known

    def now(self, unit: Unit) -> np.ndarray:
        """What `unit` knows when it takes its next instruction."""
        return self.knowledge(unit, int(self.counts[unit]))

    def advance(self, unit: Unit, by: int, start: np.ndarray, end: np.ndarray) -> None:
        if by:
            self.counts[unit] += by
            end = np.maximum(start, end)
            end[unit] = self.counts[unit]
            self.segments[unit].append(Segment(int(self.counts[unit]), start.copy(), end))
