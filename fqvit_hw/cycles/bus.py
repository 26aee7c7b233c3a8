"""The read side of the AXI bus."""

from __future__ import annotations

from .timing import OUTSTANDING, REQUEST


class Bus:
    """An address a cycle, then beats in order, one a cycle."""

    def __init__(self, latency: int):
        self.latency = latency
        self.address_free = self.data_free = self.beats = 0
        self.ends: list[int] = []  # of every burst so far

    def read(self, t: int, beats: int) -> tuple[int, range]:
        """-> when a burst asked for at t is taken, and the times of its beats at the client."""
        taken = max(t, self.address_free)
        if len(self.ends) >= OUTSTANDING:
            taken = max(taken, self.ends[-OUTSTANDING] + 1)
        self.address_free = taken + 1
        start = max(taken + REQUEST + self.latency, self.data_free)
        self.data_free = start + beats
        self.ends.append(start + beats - 1)
        self.beats += beats
        return taken, range(start, start + beats)
