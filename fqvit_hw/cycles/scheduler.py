"""Processes side by side, each with a time of its own; and the counts that they wait for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

# A process yields (count, n) to wait for a count, and (None, time) to let those go on whose time
# is earlier. Parts of processes return a value to whoever delegates to them (`yield from`).
Process = Generator[tuple[Any, int], None, Any]


class Scheduler:
    """Runs the process with the earliest time; of several those first that were resumed first."""

    def __init__(self):
        self.ready: list[tuple[int, int, Process]] = []
        self.sequence = 0

    def resume(self, process: Process, time: int) -> None:
        """Let a process go on at `time`."""
        self.sequence += 1
        heappush(self.ready, (time, self.sequence, process))

    def run(self) -> None:
        """Until every process waits for a count."""
        while self.ready:
            _, _, process = heappop(self.ready)
            for count, n in process:
                if count is None:
                    self.resume(process, n)
                    break
                if n > count.total:
                    count.waiting.append((n, process))
                    break


class Count:
    """A number that grows: at which time did it reach n? Times never decrease."""

    def __init__(self, scheduler: Scheduler):
        self.scheduler = scheduler
        self.total = 0
        self.starts: list[int] = []
        self.times: list = []  # of each segment: a range, list or array
        self.waiting: list[tuple[int, Process]] = []

    def add(self, times: Sequence[int] | np.ndarray) -> None:
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
                    self.scheduler.resume(process, self.time(n))
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


def paced(ready: np.ndarray, step: int, start: int) -> np.ndarray:
    """t[r] = max(ready[r], t[r - 1] + step), t[0] >= start: rows that take `step` cycles each."""
    steps = step * np.arange(len(ready))
    return np.maximum.accumulate(np.maximum(ready - steps, start)) + steps
