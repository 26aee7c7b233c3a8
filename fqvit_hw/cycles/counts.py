"""What the processes of the cycle model know of each other: counts, queues and the bus."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

from ..machine.isa import Instruction
from .timing import OUTSTANDING, REQUEST

if TYPE_CHECKING:
    from .model import Model


class Count:
    """A number that grows: at which time did it reach n? Times never decrease."""

    def __init__(self, model: Model):
        self.model = model
        self.total = 0
        self.starts: list[int] = []
        self.times: list = []  # of each segment: a range, list or array
        self.waiting: list = []  # (n, process)

    def add(self, times) -> None:
        """The count grows by one at each of `times`."""
        if not len(times):
            return
        if isinstance(times, list) and self.times and isinstance(self.times[-1], list):
            self.times[-1] += times
        else:
            self.starts.append(self.total)
            self.times.append(list(times) if isinstance(times, list) else times)
        self.total += len(times)
        if self.waiting:
            for n, process in self.waiting:
                if n <= self.total:
                    self.model.resume(process, self.time(n))
            self.waiting = [entry for entry in self.waiting if entry[0] > self.total]

    def time(self, n: int) -> int:
        if n <= 0:
            return 0
        segment = bisect_left(self.starts, n) - 1
        return int(self.times[segment][n - 1 - self.starts[segment]])

    def before(self, t: int) -> int:
        """What the count was before time t."""
        segment = bisect_left(self.times, t, key=lambda times: times[0]) - 1
        if segment < 0:
            return 0
        return self.starts[segment] + bisect_left(self.times[segment], t)

    def span(self, n: int, rows: int) -> np.ndarray:
        """The times of n, n + 1, ..., n + rows - 1."""
        result = np.zeros(rows, np.int64)
        at = max(0, 1 - n)
        while at < rows:
            segment = bisect_left(self.starts, n + at) - 1
            offset = n + at - 1 - self.starts[segment]
            part = np.asarray(self.times[segment][offset : offset + rows - at])
            result[at : at + len(part)] = part
            at += len(part)
        return result


class Queue:
    """Instructions before a unit: when they may be taken, were taken and are carried out."""

    def __init__(self, model: Model):
        self.items: list[Instruction] = []
        self.pushed, self.popped, self.finished = Count(model), Count(model), Count(model)

    def push(self, instruction: Instruction, time: int) -> None:
        self.items.append(instruction)
        self.pushed.add([time])


class Bus:
    """The read side of the AXI bus: an address a cycle, then beats in order, one a cycle."""

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


def paced(ready: np.ndarray, step: int, start: int) -> np.ndarray:
    """t[r] = max(ready[r], t[r - 1] + step), t[0] >= start: rows that take `step` cycles each."""
    steps = step * np.arange(len(ready))
    return np.maximum.accumulate(np.maximum(ready - steps, start)) + steps
