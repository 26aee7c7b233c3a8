"""One run of a program: processes side by side, each with a time of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from ..machine.hardware import Hardware
from ..machine.isa import Instruction, Unit
from .counts import Bus, Count, Queue
from .memory_side import QUEUES, MemorySide
from .row_side import Gemm, RowSide


@dataclass
class Prediction:
    """cycles: from start to done; gemms: in order; bytes as the counters count them."""

    cycles: int
    gemms: list[Gemm]
    bytes_read: int
    bytes_written: int
    bytes_weights: int

    @property
    def busy(self) -> int:
        """Beats of the array."""
        return sum(gemm.busy for gemm in self.gemms)


class Model(MemorySide, RowSide):
    """One run of a program. Processes are generators; they yield (count, n) to wait for a count,
    and (None, time) to let those go on whose time is earlier.
    """

    def __init__(self, instructions: list[Instruction], hw: Hardware, latency: int):
        self.instructions, self.hw, self.latency = instructions, hw, latency
        self.progress = {unit: Count(self) for unit in Unit}
        self.bus = Bus(latency)
        self.loaded, self.released = Count(self), Count(self)  # weight tiles
        self.params_loaded, self.params_released = Count(self), Count(self)  # column tiles
        self.weight_jobs: list[Instruction] = []  # taken by the weights unit
        self.weight_bursts: list[range] = []  # times of the beats
        self.weight_arrived, self.weight_popped = Count(self), Count(self)  # beats
        self.unpacked_jobs = Count(self)
        self.tile_writes: set[int] = set()  # cycles in which the epilogue writes keys or values
        self.tiles_written = -1  # the last of them
        self.acts_writes: set[int] = set()  # cycles in which it writes activations, beside the norm
        self.bursts: list = []  # of loads: times of the beats, chunks of the burst and of its end
        self.burst_count, self.load_popped = Count(self), Count(self)
        self.queues = {name: Queue(self) for name in QUEUES}
        self.residuals: deque = deque(maxlen=4)  # passes: when they read the stream, how often
        self.free = Count(self)  # cycles in which the array does not read the activations
        self.gemms: list[Gemm] = []
        self.bytes_weights = self.bytes_written = self.end = 0
        self.ready: list = []
        self.sequence = 0

    def run(self) -> Prediction:
        units = (
            self.sequencer, self.weight_requests, self.weights, self.array, self.norm,
            self.load_requests, self.load_writes, self.store,
        )  # fmt: skip
        for unit in units:
            self.resume(unit(), 0)
        while self.ready or self.free.waiting:
            if not self.ready:  # the array waits for the STORE that waits for it: it is idle
                self.spare(self.free.waiting[0][0] - self.free.total)
                continue
            _, _, process = heappop(self.ready)
            for count, n in process:
                if count is None:
                    self.resume(process, n)
                    break
                if n > count.total:
                    count.waiting.append((n, process))
                    break
        if not self.end:
            raise RuntimeError("the program waits for a count that no unit reaches")
        read = self.bus.beats * self.hw.bus_bytes
        return Prediction(self.end, self.gemms, read, self.bytes_written, self.bytes_weights)

    def resume(self, process: Iterator, time: int) -> None:
        self.sequence += 1
        heappush(self.ready, (time, self.sequence, process))

    def taken(self, queue: Queue, t: int):
        """The next instruction of a queue that a unit takes at t or later: (it, when)."""
        index = queue.popped.total
        yield queue.pushed, index + 1
        t = max(t, queue.pushed.time(index + 1))
        return queue.items[index], t

    def waited(self, instruction: Instruction, n: int):
        """When a wait that is not stepped is satisfied."""
        unit = Unit(getattr(instruction, f"wait{n}_unit"))
        if unit is Unit.NONE:
            return 0
        count, target = self.progress[unit], getattr(instruction, f"wait{n}_count")
        yield count, target
        return count.time(target)

    def row_waits(self, instruction: Instruction, rows: int):
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

    def row_wait(self, instruction: Instruction, row: int, start: int):
        """When the wait of one row is satisfied; start: that of wait 1."""
        unit = Unit(instruction.wait0_unit)
        if unit is Unit.NONE:
            return start
        count, n = self.progress[unit], instruction.wait0_count + row * instruction.wait0_step
        yield count, n
        return max(count.time(n), start)
