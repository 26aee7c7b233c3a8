"""The cycle model: when each unit of the accelerator does what, without a clock.

Every unit is a process that works through its instructions in order and keeps its own time. What
units know of each other are counts (`Count`): rows finished, tiles loaded, instructions taken; a
process that needs count n goes on at the time at which n was reached. All rows of a pass of a GEMM
are computed at once, as numpy arrays of times, so that a whole DeiT takes a second.

The constants are those of the RTL; `tests/test_cycles.py` holds both together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

from .hardware import BURST_BYTES, PARAM_BYTES, Hardware
from .isa import INSTRUCTION_BYTES, Epilogue, Instruction, Opcode, Space, Unit


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
        self.starts.append(self.total)
        self.times.append(times)
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


@dataclass(frozen=True)
class Memory:
    """The AXI memory: cycles from a read's address to its first beat; then a beat a cycle."""

    latency: int = 100


@dataclass(frozen=True)
class Delays:
    """Cycles between an event in one unit and its effect in another, as built in rtl/."""

    fetch: int = 6  # start to the first read request
    read: int = 3  # a read request to its address on the bus; and its beat to the client
    dispatch: int = 2  # an instruction at the sequencer's output to its unit
    wait: int = 2  # a count reached to the row that waited for it
    array: int = 8  # a row's last beat to the row in the epilogue
    epilogue: int = 14  # a chunk entering the epilogue to its write
    load: int = 4  # a beat in the loader to its write
    store: int = 6
    norm: int = 4  # a row's first word read to its beat in the LayerNorm, and back to the write
    codes: int = 4
    done: int = 4


@dataclass
class Gemm:
    """What the array did for one GEMM: first and last cycle, beats, cycles it waited, by cause."""

    instruction: Instruction
    start: int
    end: int
    busy: int
    waits: dict[str, int] = field(default_factory=dict)


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
        return sum(gemm.busy for gemm in self.gemms)


def paced(ready: np.ndarray, step: int, start: int) -> np.ndarray:
    """t[r] = max(ready[r], t[r - 1] + step), t[0] >= start: rows that take `step` cycles each."""
    steps = step * np.arange(len(ready))
    return np.maximum.accumulate(np.maximum(ready - steps, start)) + steps


class Model:
    """One run of a program: `Model(instructions, hw, memory).run()`."""

    def __init__(self, instructions: list[Instruction], hw: Hardware, memory: Memory | None = None):
        self.instructions, self.hw = instructions, hw
        self.memory, self.delays = memory or Memory(), Delays()
        self.progress = {unit: Count(self) for unit in Unit}
        self.ready: list = []
        self.sequence = 0
        self.bus = Bus(self.memory, self.delays)
        self.loaded, self.released = Count(self), Count(self)  # weight tiles
        self.params_loaded, self.params_released = Count(self), Count(self)  # column tiles
        self.queues = {name: Queue(self) for name in QUEUES}
        self.rows: list = []  # what the array hands to the epilogue: one entry a pass
        self.passes = Count(self)
        self.scores: list = []
        self.score_passes = Count(self)
        self.gemms: list[Gemm] = []
        self.bytes_weights = self.bytes_written = 0
        self.end = 0

    def run(self) -> Prediction:
        """Raises RuntimeError if the program waits for what never comes."""
        processes = [
            self.sequencer(), self.weight_requests(), self.weight_tiles(), self.array(),
            self.epilogue(), self.codes(), self.norm(), self.load(), self.store(),
        ]  # fmt: skip
        for process in processes:
            self.resume(process, 0)
        while self.ready:
            _, _, process = heappop(self.ready)
            for request in process:
                if request[0] is None:  # go on in the order of time
                    self.resume(process, request[1])
                    break
                count, n = request
                if n > count.total:
                    count.waiting.append((n, process))
                    break
        if not self.end:
            raise RuntimeError("the program waits for a count that no unit reaches")
        return Prediction(
            self.end, self.gemms, self.bus.beats * self.hw.bus_bytes, self.bytes_written,
            self.bytes_weights,
        )  # fmt: skip

    def resume(self, process: Iterator, time: int) -> None:
        self.sequence += 1
        heappush(self.ready, (time, self.sequence, process))

    # --- instructions

    def sequencer(self):
        d = self.delays
        per_burst = BURST_BYTES // INSTRUCTION_BYTES
        beats = INSTRUCTION_BYTES // self.hw.bus_bytes
        t, fetched = d.fetch, []
        for n, instruction in enumerate(self.instructions):
            if n % per_burst == 0:
                yield None, t
                arrived = self.bus.read(t, self.hw.burst)
                fetched += [arrived[(k + 1) * beats - 1] for k in range(per_burst)]
            t = max(t + 1, fetched[n])
            if instruction.opcode is Opcode.END:
                break
            for name in QUEUES_OF[instruction.opcode]:
                queue = self.queues[name]
                room = queue.pushed.total + 1 - self.hw.queue
                if room > 0:
                    yield queue.popped, room
                    t = max(t, queue.popped.time(room) + 1)
            for name in QUEUES_OF[instruction.opcode]:
                self.queues[name].push(instruction, t + d.dispatch)
        last = t
        for queue in self.queues.values():
            yield queue.finished, queue.pushed.total
            last = max(last, queue.finished.time(queue.pushed.total))
        self.end = last + d.done

    def waited(self, instruction: Instruction, n: int, t: int):
        """-> the time at which wait n of an instruction, not stepped, is over."""
        unit = Unit(getattr(instruction, f"wait{n}_unit"))
        if unit is Unit.NONE:
            return t
        count, target = self.progress[unit], getattr(instruction, f"wait{n}_count")
        yield count, target
        return max(t, count.time(target) + self.delays.wait)

    def row_times(self, instruction: Instruction, t: int):
        """-> the unit of wait 0, and the times from which the rows of an instruction may start."""
        t = yield from self.waited(instruction, 1, t)
        unit, rows = Unit(instruction.wait0_unit), instruction.rows
        ready = np.full(rows, t, np.int64)
        if unit is not Unit.NONE:
            count, first = self.progress[unit], instruction.wait0_count
            last = first + (rows - 1) * instruction.wait0_step
            yield count, last
            if instruction.wait0_step:
                reached = count.span(first, rows)
            else:
                reached = np.full(rows, count.time(first), np.int64)
            ready = np.maximum(ready, reached + self.delays.wait)
        return ready

    # --- weights

    def weight_requests(self):
        queue, hw = self.queues["weights"], self.hw
        self.arrived, self.unpacked = Count(self), Count(self)
        t = 0
        for index in range(len(self.instructions)):
            yield queue.pushed, index + 1
            instruction = queue.items[index]
            t = max(t, queue.pushed.time(index + 1)) + 1
            queue.popped.add([t])
            if instruction.resident:
                continue
            address, left = instruction.address, weight_bytes(instruction, hw) // hw.bus_bytes
            self.bytes_weights += left * hw.bus_bytes
            while left:
                to_boundary = hw.burst - address % BURST_BYTES // hw.bus_bytes
                beats = min(left, to_boundary)
                room = self.arrived.total + beats - hw.prefetch
                yield self.unpacked, room
                t = max(t + 1, self.unpacked.time(room) + 1)
                yield None, t
                self.arrived.add(self.bus.read(t, beats))
                address, left = address + beats * hw.bus_bytes, left - beats

    def weight_tiles(self):
        queue, hw = self.queues["weights"], self.hw
        tile_beats = hw.tile_bytes // hw.bus_bytes
        param_beats = hw.cols * PARAM_BYTES // hw.bus_bytes
        t = beats = 0
        for index in range(len(self.instructions)):
            yield queue.pushed, index + 1
            instruction = queue.items[index]
            if not instruction.resident:
                for _ in range(instruction.outer):
                    room = self.params_loaded.total + 1 - hw.params
                    yield self.params_released, room
                    t = max(t, self.params_released.time(room) + 1)
                    beats += param_beats
                    yield self.arrived, beats
                    t = self.unpack(t, beats, param_beats)
                    self.params_loaded.add([t])
                    for _ in range(instruction.k_groups * instruction.k_tiles):
                        room = self.loaded.total + 1 - hw.ring
                        yield self.released, room
                        t = max(t, self.released.time(room) + 1)
                        beats += tile_beats
                        yield self.arrived, beats
                        t = self.unpack(t, beats, tile_beats)
                        self.loaded.add([t])
            queue.finished.add([t])

    def unpack(self, t: int, until: int, beats: int) -> int:
        """Beats until - beats .. until - 1 leave the queue, one a cycle; -> the last one's time."""
        first = self.arrived.time(until - beats + 1)
        start = max(t + 1, first)
        last = max(start + beats - 1, self.arrived.time(until))
        self.unpacked.add(range(last - beats + 1, last + 1))
        return last

    # --- the array and what follows it

    def array(self):
        queue, d = self.queues["array"], self.delays
        t = 0  # the first cycle that is free
        for index in range(len(self.instructions)):
            yield queue.pushed, index + 1
            i = queue.items[index]
            t = max(t, queue.pushed.time(index + 1))
            queue.popped.add([t])
            gemm = Gemm(i, t, t, 0)
            ready = yield from self.row_times(i, t)
            row = i.inner * i.k_tiles
            for _ in range(i.outer):
                for group in range(i.k_groups):
                    began = t
                    if not i.resident:  # the first row meets its tiles one by one
                        base = self.released.total
                        for k in range(i.k_tiles):
                            yield self.loaded, base + k + 1
                            t = max(t, self.loaded.time(base + k + 1) + d.wait - k)
                    yield None, t
                    first = paced(ready, self.pace(i), t)
                    last = first + row - 1
                    t = int(last[-1]) + 1
                    self.progress[Unit.ARRAY].add(last)
                    if not i.resident:
                        self.released.add([t] * i.k_tiles)
                    gemm.busy += row * i.rows
                    gemm.waits["all"] = gemm.waits.get("all", 0) + t - began - row * i.rows
                    if group == i.k_groups - 1:
                        self.rows.append(last + d.array)
                        self.passes.add([t])
            gemm.end = t
            self.gemms.append(gemm)
            queue.finished.add([t])

    def pace(self, i: Instruction) -> int:
        """Cycles from row to row: those of the array or, if they are more, of the epilogue."""
        cycles = i.inner * i.k_tiles
        if i.k_groups == 1:
            cycles = max(cycles, sum(self.chunks(i, j) for j in range(i.inner)))
        return cycles

    def chunks(self, i: Instruction, tile: int) -> int:
        """Cycles of the epilogue for a row of column tile `tile`."""
        columns = min(max(i.columns - tile * self.hw.cols, 1), self.hw.cols)
        return -(-columns // self.hw.lanes)

    def epilogue(self):
        queue, d = self.queues["epilogue"], self.delays
        t = passes = 0
        for index in range(len(self.instructions)):
            yield queue.pushed, index + 1
            i = queue.items[index]
            t = max(t, queue.pushed.time(index + 1))
            queue.popped.add([t])
            t = yield from self.waited(i, 2, t)
            for o in range(i.outer):
                passes += 1
                yield self.passes, passes
                if not i.scalar:
                    yield self.params_loaded, self.params_released.total + 1
                    t = max(t, self.params_loaded.time(self.params_released.total + 1) + 1)
                chunks = [self.chunks(i, o * i.inner + j) for j in range(i.inner)]
                # a row is done its last tile's chunks after that came, or all after the last row
                rows = self.rows[passes - 1] + chunks[-1]
                done = paced(rows, sum(chunks), t + sum(chunks))
                t = int(done[-1])
                if not i.scalar:
                    self.params_released.add([t])
                if i.epilogue == Epilogue.SCORES:
                    self.scores.append((i, done + d.epilogue))
                    self.score_passes.add([t])
                self.progress[Unit.EPILOGUE].add(done + d.epilogue)
            queue.finished.add([t + d.epilogue])

    def codes(self):
        hw, d = self.hw, self.delays
        t = done = 0
        while True:
            done += 1
            yield self.score_passes, done
            i, rows = self.scores[done - 1]
            beats = -(-i.columns // hw.lanes)
            # the maximum, the sum and the codes of a row follow each other, and the reciprocal
            latency = 10 + beats + 4 + beats - 1 + 11 + d.codes
            finished = paced(rows + latency, max(beats, 9), t)
            t = int(finished[-1])
            self.progress[Unit.CODES].add(finished)

    def norm(self):
        queue, hw, d = self.queues["norm"], self.hw, self.delays
        t = 0
        for index in range(len(self.instructions)):
            yield queue.pushed, index + 1
            i = queue.items[index]
            t = max(t, queue.pushed.time(index + 1))
            queue.popped.add([t])
            ready = yield from self.row_times(i, t)
            beats = -(-i.channels // hw.norm_lanes)
            step = max(beats, 10)
            start = paced(ready, step, t)
            finished = start + beats + 50 + beats + d.norm
            self.progress[Unit.NORM].add(finished)
            t = int(finished[-1])
            queue.finished.add([t])

    # --- copies

    def load(self):
        queue, hw, d = self.queues["load"], self.hw, self.delays
        t = 0
        for index in range(len(self.instructions)):
            yield queue.pushed, index + 1
            i = queue.items[index]
            t = max(t, queue.pushed.time(index + 1))
            queue.popped.add([t])
            t = yield from self.waited(i, 0, t)
            t = yield from self.waited(i, 1, t)
            request = write = t
            size = i.pieces * i.piece
            cost = max(1, (1 << i.chunk) // self.entry_bytes(i))
            for outer in range(i.count2):
                for middle in range(i.count1):
                    for line in range(i.count0):
                        at = i.address + outer * i.from2 + middle * i.from1 + line * i.from0
                        end = at + size
                        at -= at % hw.bus_bytes
                        while at < end:
                            stop = min(at - at % BURST_BYTES + BURST_BYTES, end)
                            beats = -(-(stop - at) // hw.bus_bytes)
                            yield None, request
                            times = self.bus.read(request, beats)
                            request = max(request + 1, times[0] - self.memory.latency)
                            chunks = min(stop - at, size) >> i.chunk
                            write = max(write + chunks * cost, times[-1] + d.load)
                            at = stop
                self.progress[Unit.LOAD].add([write] * i.credit)
            t = write
            queue.finished.add([t])

    def entry_bytes(self, i: Instruction) -> int:
        """Bytes that a LOAD writes in a cycle at most: tables take an entry at a time."""
        return {Space.GELU_TABLE: 1, Space.EXP_TABLE: 4}.get(Space(i.space), 1 << i.chunk)

    def store(self):
        queue, hw, d = self.queues["store"], self.hw, self.delays
        t = 0
        for index in range(len(self.instructions)):
            yield queue.pushed, index + 1
            i = queue.items[index]
            t = max(t, queue.pushed.time(index + 1))
            queue.popped.add([t])
            t = yield from self.waited(i, 0, t)
            t = yield from self.waited(i, 1, t)
            word = hw.rows if i.space == Space.ACTS else hw.stream_bytes
            beats = i.words * word // hw.bus_bytes
            line = max(beats, i.words)
            times = t + line * (1 + np.arange(i.lines)) + d.store
            self.bytes_written += i.lines * beats * hw.bus_bytes
            self.progress[Unit.STORE].add(times)
            t = int(times[-1])
            queue.finished.add([t])


class Queue:
    """Instructions before a unit: when they were put in, taken and carried out."""

    def __init__(self, model: Model):
        self.items: list[Instruction] = []
        self.pushed, self.popped, self.finished = Count(model), Count(model), Count(model)

    def push(self, instruction: Instruction, time: int) -> None:
        self.items.append(instruction)
        self.pushed.add([time])


class Bus:
    """The read side of the AXI bus: an address a cycle, then beats in order, one a cycle."""

    def __init__(self, memory: Memory, delays: Delays):
        self.memory, self.delays = memory, delays
        self.address_free = self.data_free = self.beats = 0

    def read(self, t: int, beats: int) -> range:
        """-> the times at which the client has the beats of a burst asked for at t."""
        address = max(t + self.delays.read, self.address_free)
        self.address_free = address + 1
        start = max(address + self.memory.latency, self.data_free)
        self.data_free = start + beats
        self.beats += beats
        return range(start + self.delays.read, start + self.delays.read + beats)


QUEUES = ("weights", "array", "epilogue", "norm", "load", "store")
QUEUES_OF = {
    Opcode.LOAD: ("load",),
    Opcode.STORE: ("store",),
    Opcode.NORM: ("norm",),
    Opcode.GEMM: ("weights", "array", "epilogue"),
}


def weight_bytes(i: Instruction, hw: Hardware) -> int:
    """Bytes that the weights unit streams for a GEMM."""
    if i.resident:
        return 0
    return i.outer * (hw.cols * PARAM_BYTES + i.k_groups * i.k_tiles * hw.tile_bytes)


def predict(instructions: list[Instruction], hw: Hardware, latency: int = 100) -> Prediction:
    """Cycles of a program from start to done, with an AXI memory of `latency` cycles."""
    return Model(instructions, hw, Memory(latency)).run()
