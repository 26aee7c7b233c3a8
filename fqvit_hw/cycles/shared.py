"""What the units of a run know of each other: queues, counts, the bus, who writes when."""

from __future__ import annotations

from collections import deque
from math import ceil

import numpy as np

from ..machine.hardware import Hardware
from ..machine.isa import Instruction, Opcode, Unit
from .bus import Bus
from .scheduler import Count, Process, Scheduler

QUEUES = ("weights", "array", "epilogue", "norm", "load", "store")
QUEUES_OF = {
    Opcode.LOAD: ("load",),
    Opcode.STORE: ("store",),
    Opcode.NORM: ("norm",),
    Opcode.GEMM: ("weights", "array", "epilogue"),
}


class Queue:
    """Instructions before a unit: when they may be taken, were taken and are carried out."""

    def __init__(self, scheduler: Scheduler):
        self.items: list[Instruction] = []
        self.pushed, self.popped = Count(scheduler), Count(scheduler)
        self.finished = Count(scheduler)

    def push(self, instruction: Instruction, time: int) -> None:
        self.items.append(instruction)
        self.pushed.add([time])


class Shared:
    """Of one run. latency: of the memory, in cycles

    progress: of every unit, as instructions wait for it; loaded, released: weight tiles in the
    ring; params_loaded, params_released: column tiles of parameters
    tile_writes, acts_writes: cycles in which the epilogue writes keys or values, or activations
    beside the norm unit; tiles_written: the last of the former
    residuals: the latest passes that read the stream: (first, last cycle, share of them that read)
    free: cycles in which the array does not read the activations
    """

    def __init__(self, hw: Hardware, latency: int):
        self.hw, self.latency = hw, latency
        self.scheduler = Scheduler()
        self.bus = Bus(latency)
        self.queues = {name: Queue(self.scheduler) for name in QUEUES}
        self.progress = {unit: self.count() for unit in Unit}
        self.loaded, self.released = self.count(), self.count()
        self.params_loaded, self.params_released = self.count(), self.count()
        self.tile_writes: set[int] = set()
        self.tiles_written = -1
        self.acts_writes: set[int] = set()
        self.residuals: deque[tuple[int, int, float]] = deque(maxlen=4)
        self.free = self.count()

    def count(self) -> Count:
        return Count(self.scheduler)

    # --- parts of processes

    def taken(self, queue: Queue, t: int) -> Process:
        """The next instruction of a queue that a unit takes at t or later: (it, when)."""
        index = queue.popped.total
        yield queue.pushed, index + 1
        t = max(t, queue.pushed.time(index + 1))
        return queue.items[index], t

    def waited(self, instruction: Instruction, n: int) -> Process:
        """When a wait that is not stepped is satisfied."""
        unit = Unit(getattr(instruction, f"wait{n}_unit"))
        if unit is Unit.NONE:
            return 0
        count, target = self.progress[unit], getattr(instruction, f"wait{n}_count")
        yield count, target
        return count.time(target)

    def row_waits(self, instruction: Instruction, rows: int) -> Process:
        """When the wait of each of the first rows is satisfied."""
        start = yield from self.waited(instruction, 1)
        unit = Unit(instruction.wait0_unit)
        if unit is Unit.NONE:
            return np.full(rows, start, np.int64)
        count, first = self.progress[unit], instruction.wait0_count
        yield count, first + (rows - 1) * instruction.wait0_step
        if instruction.wait0_step:
            return np.maximum(count.span(first, rows), start)
        return np.full(rows, max(count.time(first), start), np.int64)

    def row_wait(self, instruction: Instruction, row: int, start: int) -> Process:
        """When the wait of one row is satisfied; start: that of wait 1."""
        unit = Unit(instruction.wait0_unit)
        if unit is Unit.NONE:
            return start
        count, n = self.progress[unit], instruction.wait0_count + row * instruction.wait0_step
        yield count, n
        return max(count.time(n), start)

    def burst(self, t: int, beats: int, asked: int, popped: Count) -> Process:
        """Ask from t on for a burst, when the queue of hw.prefetch beats has room for all `asked`
        so far. Returns when the next may be asked for, and the times of its beats.
        """
        room = asked - self.hw.prefetch
        yield popped, room
        t = max(t, popped.time(room) + 1)
        yield None, t
        t, times = self.bus.read(t, beats)
        return t + 1, times

    # --- the stream memory

    def beside_residuals(self, t: int, words: int) -> int:
        """When the last of `words` of the stream is read from t on: a residual add reads first."""
        for first, last, taken in self.residuals:
            if last < t:
                continue
            free = 1 - taken
            if t + words <= first:
                break
            words -= max(first - t, 0)
            t = max(t, first)
            here = int((last + 1 - t) * free)
            if here >= words:
                return t + ceil(words / free) - 1
            words, t = words - here, last + 1
        return t + words - 1
