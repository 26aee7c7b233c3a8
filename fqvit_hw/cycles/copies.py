"""LOAD and STORE: copies between memory and the chip."""

from __future__ import annotations

import numpy as np

from ..machine.hardware import BURST_BYTES
from ..machine.isa import Instruction, Space, Unit
from .scheduler import Process
from .shared import Shared
from .timing import (
    LOAD_ASK,
    LOAD_BEAT,
    LOAD_POP,
    LOAD_START,
    LOAD_WAIT,
    READ,
    STORE,
    STORE_ASK,
    STORE_START,
    WRITE,
    WRITE_AGAIN,
    WRITES,
)


class Loads:
    """bursts: of each the times of its beats, its chunks and those of its last beat, and the space;
    or the instruction of which an outer step ends there. popped: beats."""

    def __init__(self, shared: Shared):
        self.shared = shared
        self.bursts: list[tuple[range, int, int, int] | Instruction] = []
        self.burst_count, self.popped = shared.count(), shared.count()

    def requests(self) -> Process:
        """The bursts of an instruction, as long as the queue of beats has room."""
        queue, hw = self.shared.queues["load"], self.shared.hw
        t = asked = 0
        while True:
            instruction, t = yield from self.shared.taken(queue, t)
            waits = []
            for n in (0, 1):
                waits.append((yield from self.shared.waited(instruction, n)))
            t = max(t + LOAD_START, *(wait + LOAD_WAIT for wait in waits))
            size = instruction.pieces * instruction.piece
            for outer in range(instruction.count2):
                for middle in range(instruction.count1):
                    for line in range(instruction.count0):
                        at = (
                            instruction.address
                            + outer * instruction.from2
                            + middle * instruction.from1
                            + line * instruction.from0
                        )
                        end = at + size
                        while at < end:
                            stop = min(at - at % BURST_BYTES + BURST_BYTES, end)
                            begin = at - at % hw.bus_bytes
                            beats = -(-(stop - begin) // hw.bus_bytes)
                            asked += beats
                            t, times = yield from self.shared.burst(t, beats, asked, self.popped)
                            t += LOAD_ASK - 1
                            chunks = (stop - at) >> instruction.chunk
                            tail = (stop - 1) % hw.bus_bytes + 1  # bytes used of the last beat
                            tail = min(tail >> instruction.chunk, chunks)
                            self.bursts.append((times, chunks, tail, instruction.space))
                            self.burst_count.add([t])
                            at = stop
                self.bursts.append(instruction)
                self.burst_count.add([t])
            yield queue.finished, queue.popped.total + 1
            t = queue.finished.time(queue.popped.total + 1)
            queue.popped.add([t])
            t += 1

    def writes(self) -> Process:
        """Chunk after chunk of the beats that have come."""
        written = index = steps = 0
        queue = self.shared.queues["load"]
        while True:
            index += 1
            yield self.burst_count, index
            item = self.bursts[index - 1]
            if isinstance(item, Instruction):
                self.shared.progress[Unit.LOAD].add([written + 1] * item.credit)
                steps += 1
                if steps == item.count2:
                    steps = 0
                    queue.finished.add([written + 1])
                continue
            times, chunks, tail, space = item
            first = max(written + 1, times[0] + LOAD_BEAT + 1)
            end = first + chunks - 1
            if space == Space.STREAM:  # the epilogue writes before it
                yield None, first
                end = self.shared.beside_residuals(first - WRITE + READ, chunks) + WRITE - READ
            written = max(end, times[-1] + LOAD_BEAT + tail)
            spread = np.linspace(first, written, len(times)).astype(np.int64)
            self.popped.add(spread - LOAD_POP)


class Stores:
    """bytes: written."""

    def __init__(self, shared: Shared):
        self.shared = shared
        self.bytes = 0

    def work(self) -> Process:
        """Line after line: a word a cycle while the array leaves the activations alone."""
        queue, hw = self.shared.queues["store"], self.shared.hw
        t = 0
        while True:
            instruction, t = yield from self.shared.taken(queue, t)
            waits = []
            for n in (0, 1):
                waits.append((yield from self.shared.waited(instruction, n)))
            t = max(t, *waits) + STORE_START
            word = hw.rows if instruction.space == Space.ACTS else hw.stream_bytes
            beats = instruction.words * word // hw.bus_bytes
            steps = np.arange(1, instruction.lines + 1)
            ends = t + max(beats, instruction.words) * steps
            if instruction.space == Space.ACTS:  # the array reads before it
                done = self.shared.free.before(t)
                yield self.shared.free, done + instruction.lines * instruction.words
                read = [self.shared.free.time(done + n * instruction.words) for n in steps.tolist()]
                ends = np.maximum(ends, read)
            ends = self.acknowledged(instruction, beats, ends + STORE)
            self.bytes += instruction.lines * beats * hw.bus_bytes
            self.shared.progress[Unit.STORE].add(ends)
            t = int(ends[-1])
            queue.popped.add([t])
            queue.finished.add([t])

    def acknowledged(self, instruction: Instruction, beats: int, ends: np.ndarray) -> np.ndarray:
        """When memory has acknowledged each line of so many beats, the last of which could be on
        the bus at `ends`, were it a burst of its own.

        A burst is asked for when its beats are there, and begins a cycle or more after the one
        before; WRITES bursts at most are under way.
        """
        hw, latency = self.shared.hw, self.shared.latency
        pace = max(beats, instruction.words)
        first = last = -STORE_ASK  # first and last beat of the burst before
        bursts: list[int] = []  # when each is acknowledged
        lines = []
        for n, end in enumerate(ends.tolist()):
            at, left = (instruction.address + n * instruction.to0) // hw.bus_bytes, beats
            while left:
                size = min(hw.burst - at % hw.burst, left)
                at, left = at + size, left - size
                first = max(end - left * pace // beats, first + STORE_ASK, last + 2)
                if len(bursts) >= WRITES:
                    first = max(first, bursts[-WRITES] + WRITE_AGAIN)
                last = first + size - 1
                bursts.append(last + latency)
            lines.append(bursts[-1])
        return np.array(lines)
