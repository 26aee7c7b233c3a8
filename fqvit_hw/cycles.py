"""The cycle model: when each unit of the accelerator does what, without a clock.

Every unit is a process that works through its instructions in order and keeps its own time. What
units know of each other are counts (`Count`): rows finished, tiles loaded, instructions taken; a
process that needs count n goes on at the time at which n was reached. All rows of a pass of a GEMM
are computed at once, as numpy arrays of times, so that a whole DeiT takes a second.

The constants are those of the RTL; `tests/test_cycles.py` holds both together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil

import numpy as np

from .formats import ceil_log2
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


# Cycles between an event in one unit and its effect in another, as built in rtl/.
START = 1  # the first cycle with a request of the sequencer
REQUEST = 1  # a request taken to its address on the bus
FETCH = 2  # a beat read to the sequencer's instruction register
QUEUE = 1  # an instruction sent to the cycle in which its unit may take it
ISSUE = 4  # a GEMM taken to its first beat
ROW = 2  # a count seen to the row that waited for it; one more for the first row
CHUNK = 2  # an instruction taken by the epilogue to its first chunk
READ = 6  # a chunk entering the epilogue to its read of the stream
WRITE = 12  # a chunk entering the epilogue to its write
NEXT = 14  # the last chunk of an instruction to the first one of the next
ROOM = 8  # rows of accumulators between the array and the epilogue
UNPACK = 2  # a beat of weights read to its write
LOAD_START = 13  # a LOAD there to its first request
LOAD_BEAT = 2  # a beat read to its first chunk taken; written a cycle later
OUTSTANDING = 32  # bursts under way on the bus
SOFTMAX = 14  # the last score of a row to its first code, besides the beats of the row
SCORES = 1  # a score written to its handshake with the softmax
RECIPROCAL = 11  # the last code of a row to its reciprocal
NORM_START = 2  # a NORM taken to its first word read
NORM_FEED = 2  # a word read to its beat in the LayerNorm
ROW_RATE = 9  # least cycles of a softmax row
NORM_RATE = 10  # ... of a LayerNorm row
STORE = 5  # the last word of a line read to its last beat on the bus


@dataclass
class Gemm:
    """start: the cycle from which the array is at it; end: the one after its last beat."""

    instruction: Instruction
    start: int
    end: int = 0
    busy: int = 0


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


def predict(instructions: list[Instruction], hw: Hardware, latency: int = 100) -> Prediction:
    """Cycles of a program from start to done, with an AXI memory of `latency` cycles.

    Raises RuntimeError if the program waits for what never comes.
    """
    return Model(instructions, hw, latency).run()


def paced(ready: np.ndarray, step: int, start: int) -> np.ndarray:
    """t[r] = max(ready[r], t[r - 1] + step), t[0] >= start: rows that take `step` cycles each."""
    steps = step * np.arange(len(ready))
    return np.maximum.accumulate(np.maximum(ready - steps, start)) + steps


def weight_bytes(i: Instruction, hw: Hardware) -> int:
    """Bytes that the weights unit streams for a GEMM."""
    if i.resident:
        return 0
    return i.outer * (hw.cols * PARAM_BYTES + i.k_groups * i.k_tiles * hw.tile_bytes)


QUEUES = ("weights", "array", "norm", "load", "store")  # the epilogue follows the array
QUEUES_OF = {
    Opcode.LOAD: ("load",),
    Opcode.STORE: ("store",),
    Opcode.NORM: ("norm",),
    Opcode.GEMM: ("weights", "array"),
}


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


class Model:
    """One run of a program. Processes are generators; they yield (count, n) to wait for a count,
    and (None, time) to let those go on whose time is earlier.
    """

    def __init__(self, instructions: list[Instruction], hw: Hardware, latency: int):
        self.instructions, self.hw, self.latency = instructions, hw, latency
        self.progress = {unit: Count(self) for unit in Unit}
        self.bus = Bus(latency)
        self.arrived, self.unpacked = Count(self), Count(self)  # beats of weights
        self.loaded, self.released = Count(self), Count(self)  # weight tiles
        self.params_loaded, self.params_released = Count(self), Count(self)  # column tiles
        self.bursts: list = []  # of loads: times of the beats, chunks of the burst and of its end
        self.burst_count, self.load_popped = Count(self), Count(self)
        self.queues = {name: Queue(self) for name in QUEUES}
        self.residuals: deque = deque(maxlen=4)  # passes: when they read the stream, how often
        self.gemms: list[Gemm] = []
        self.bytes_weights = self.bytes_written = self.end = 0
        self.ready: list = []
        self.sequence = 0

    def run(self) -> Prediction:
        units = (
            self.sequencer, self.weight_requests, self.weight_tiles, self.array, self.norm,
            self.load_requests, self.load_writes, self.store,
        )  # fmt: skip
        for unit in units:
            self.resume(unit(), 0)
        while self.ready:
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

    # --- instructions

    def sequencer(self):
        """Two bursts are asked for ahead; an instruction takes its beats and one cycle more."""
        per_burst = BURST_BYTES // INSTRUCTION_BYTES
        beats = INSTRUCTION_BYTES // self.hw.bus_bytes
        t, asked, arrived = START, START, []
        for n, instruction in enumerate(self.instructions):
            ahead = min(n // per_burst + 2, -(-len(self.instructions) // per_burst))
            while len(arrived) < ahead * per_burst:
                yield None, asked
                taken, times = self.bus.read(asked, self.hw.burst)
                asked = taken + 1
                arrived += [times[k * beats : (k + 1) * beats] for k in range(per_burst)]
            first, last = arrived[n][0], arrived[n][-1]
            t = max(max(t, first + FETCH) + beats, last + FETCH + 1)  # it is whole
            if n % per_burst == per_burst - 1:
                asked = max(asked, t)
            if instruction.opcode is Opcode.END:
                break
            queues = [self.queues[name] for name in QUEUES_OF[instruction.opcode]]
            for queue in queues:
                room = len(queue.items) + 1 - self.hw.queue
                yield queue.popped, room
                t = max(t, queue.popped.time(room) + 1)
            for queue in queues:
                queue.push(instruction, t + QUEUE)
            t += 1
        last = t + 1
        for queue in self.queues.values():
            yield queue.finished, len(queue.items)
            last = max(last, queue.finished.time(len(queue.items)))
        self.end = last + 1

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

    def row_waits(self, instruction: Instruction):
        """When the wait of every row is satisfied."""
        start = yield from self.waited(instruction, 1)
        unit, rows = Unit(instruction.wait0_unit), instruction.rows
        if unit is Unit.NONE:
            return np.full(rows, start, np.int64)
        count, first = self.progress[unit], instruction.wait0_count
        yield count, first + (rows - 1) * instruction.wait0_step
        if instruction.wait0_step:
            return np.maximum(count.span(first, rows), start)
        return np.full(rows, max(count.time(first), start), np.int64)

    # --- weights

    def weight_requests(self):
        """A burst every two cycles at most, as long as the queue of beats has room for it."""
        queue, hw = self.queues["weights"], self.hw
        t = 0
        while True:
            i, t = yield from self.taken(queue, t)
            queue.popped.add([t])
            t += 1
            if i.resident:
                continue
            address, left = i.address, weight_bytes(i, hw) // hw.bus_bytes
            self.bytes_weights += left * hw.bus_bytes
            t += 1
            while left:
                beats = min(left, hw.burst - address % BURST_BYTES // hw.bus_bytes)
                room = self.arrived.total + beats - hw.prefetch
                yield self.unpacked, room
                t = max(t + 1, self.unpacked.time(room) + 1)
                yield None, t
                t, times = self.bus.read(t, beats)
                self.arrived.add(times)
                t += 1
                address, left = address + beats * hw.bus_bytes, left - beats

    def weight_tiles(self):
        """Parameters, then the tiles of each column tile, a beat a cycle while there is room."""
        queue, hw = self.queues["weights"], self.hw
        tile_beats = hw.tile_bytes // hw.bus_bytes
        param_beats = hw.cols * PARAM_BYTES // hw.bus_bytes
        t = index = 0
        while True:
            index += 1
            yield queue.popped, index
            i = queue.items[index - 1]
            if not i.resident:
                for _ in range(i.outer):
                    room = self.params_loaded.total + 1 - hw.params
                    yield self.params_released, room
                    yield self.arrived, self.unpacked.total + param_beats
                    t = self.unpack(t, self.params_released.time(room), param_beats)
                    self.params_loaded.add([t + 1])
                    left = i.k_groups * i.k_tiles
                    while left:
                        room = self.loaded.total + 1 - hw.ring
                        yield self.released, room
                        done = self.unpacked.total
                        yield self.arrived, done + tile_beats
                        there = (self.arrived.total - done) // tile_beats
                        many = min(left, there, self.released.total + 1 - room)
                        if many == 1:
                            t = self.unpack(t, self.released.time(room), tile_beats)
                            self.loaded.add([t + 1])
                        else:
                            t = self.unpack_many(t, room, many, tile_beats)
                        left -= many
            queue.finished.add([t])

    def unpack(self, t: int, room: int, beats: int) -> int:
        """When the last one of the next beats is written, after t and from `room` on."""
        done = self.unpacked.total
        start = max(t + 1, room, self.arrived.time(done + 1) + UNPACK)
        last = max(start + beats - 1, self.arrived.time(done + beats) + UNPACK)
        self.unpacked.add(range(last - beats + 1, last + 1))
        return last

    def unpack_many(self, t: int, room: int, many: int, beats: int) -> int:
        """The same for `many` tiles at once, all of which are there and have room."""
        arrived = self.arrived.span(self.unpacked.total + 1, many * beats).reshape(many, beats)
        start = np.maximum(self.released.span(room, many), arrived[:, 0] + UNPACK)
        ready = np.maximum(start + beats - 1, arrived[:, -1] + UNPACK)
        last = paced(ready, beats, t + beats)
        first, t = int(last[0]) - beats + 1, int(last[-1])
        if t + 1 - first == many * beats:
            self.unpacked.add(range(first, t + 1))
        else:
            self.unpacked.add((last[:, None] + np.arange(1 - beats, 1)).ravel())
        self.loaded.add(last + 1)
        return t

    # --- the array, the epilogue and the softmax, which follow each other

    def array(self):
        """Array and epilogue side by side: ROOM rows of accumulators may wait between them.

        issued: the last beat; popped_rows: when the epilogue took the last ROOM rows; entered: its
        last chunk.
        """
        queue = self.queues["array"]
        self.popped_rows = np.full(ROOM, -(1 << 40), np.int64)
        issued, entered, before = -1, -NEXT, -ISSUE
        while True:
            i, taken = yield from self.taken(queue, before)
            queue.popped.add([taken])
            ready = (yield from self.row_waits(i)) + ROW
            ready[0] += 1
            issue = max(issued + 1, taken + ISSUE, int(ready[0]))
            gemm = Gemm(i, issue)
            self.gemms.append(gemm)
            before = issue  # the next one may be taken
            chunk = yield from self.waited(i, 2)
            chunk = max(chunk, entered + NEXT, taken + CHUNK)
            scored = []
            for o in range(i.outer):
                if not i.scalar:
                    params = self.params_released.total + 1
                    yield self.params_loaded, params
                    chunk = max(chunk, self.params_loaded.time(params))
                for group in range(i.k_groups):
                    if not i.resident:  # the first row meets its tiles one by one
                        base = self.released.total
                        yield self.loaded, base + i.k_tiles
                        times = self.loaded.span(base + 1, i.k_tiles) - np.arange(i.k_tiles)
                        issue = max(issue, int(times.max()))
                    yield None, issue
                    ends = group == i.k_groups - 1
                    rows, chunks = self.rows_of_pass(i, o, ready, issue, chunk, ends)
                    issue = int(rows[-1]) + 1
                    ready = np.zeros(1, np.int64) if len(ready) != i.rows else ready * 0
                    self.progress[Unit.ARRAY].add(rows + 2)
                    gemm.busy += i.rows * i.inner * i.k_tiles
                    if not i.resident:
                        self.released.add([issue] * i.k_tiles)
                if i.epilogue == Epilogue.RESIDUAL:
                    reads = self.chunks(i, o) * i.rows
                    first, last = int(chunks[0]), int(chunks[-1])
                    span = (first + READ, last + READ, min(1, reads / (last - first + 1)))
                    self.residuals.append(span)
                entered = int(chunks[-1])
                chunk = entered + 1
                if not i.scalar:
                    self.params_released.add([entered + 1])
                self.progress[Unit.EPILOGUE].add(chunks + WRITE + 1)
                scored.append(chunks + WRITE)
            gemm.end, issued = issue, issue - 1
            if i.epilogue == Epilogue.SCORES:
                self.codes(i, scored[0])
            queue.finished.add([entered + WRITE + 1])

    def rows_of_pass(self, i: Instruction, o: int, ready, issue: int, chunk: int, ends: bool):
        """A pass of all rows: when each was read, and when its last chunk entered the epilogue."""
        k = i.k_tiles
        starts = paced(ready, i.inner * k, issue)
        if not ends:
            return starts + k - 1, None
        chunks = np.array([self.chunks(i, o * i.inner + j) for j in range(i.inner)])
        there = array_latency(self.hw)
        # without back pressure: beat that completes each row tile, chunk that takes it
        done = (starts[:, None] + k * np.arange(1, i.inner + 1) - 1).ravel()
        cost = np.tile(chunks, i.rows)
        total = np.cumsum(cost)
        begin = np.maximum(done + there, chunk) - (total - cost)
        popped = np.maximum.accumulate(begin) + total - 1
        history = np.concatenate([self.popped_rows, popped])
        if (done <= history[: len(done)]).any():
            done, popped = self.held_rows(i, ready, issue, chunk, chunks)
            history = np.concatenate([self.popped_rows, popped])
        self.popped_rows = history[-ROOM:]
        return done[i.inner - 1 :: i.inner], popped[i.inner - 1 :: i.inner]

    def held_rows(self, i: Instruction, ready, issue: int, chunk: int, chunks):
        """The same, where the array waits for the epilogue to take a row: one after another."""
        k, there = i.k_tiles, array_latency(self.hw)
        recent = self.popped_rows.tolist()
        done, popped = [], []
        at, free = issue - 1, chunk - 1
        for r in range(i.rows):
            at = max(at, int(ready[r]) - 1)
            for cost in chunks.tolist():
                at = max(at + k, recent[-ROOM] + 1)
                free = max(at + there, free + 1) + cost - 1
                done.append(at)
                popped.append(free)
                recent.append(free)
        return np.array(done), np.array(popped)

    def chunks(self, i: Instruction, tile: int) -> int:
        """Cycles of the epilogue for a row of column tile `tile`."""
        columns = min(max(i.columns - tile * self.hw.cols, 1), self.hw.cols)
        return -(-columns // self.hw.lanes)

    def codes(self, i: Instruction, written: np.ndarray) -> None:
        """Rows of codes, from when the last score of each is written."""
        beats = -(-i.columns // self.hw.lanes)
        count = self.progress[Unit.CODES]
        start = count.time(count.total) + 1
        last = paced(written + SCORES, max(beats, ROW_RATE), start)
        count.add(last + SOFTMAX + beats + beats - 1 + RECIPROCAL + 1)

    # --- LayerNorm

    def norm(self):
        queue, hw = self.queues["norm"], self.hw
        t = 0
        while True:
            i, t = yield from self.taken(queue, t)
            queue.popped.add([t])
            ready = yield from self.row_waits(i)
            beats, words = -(-i.channels // hw.norm_lanes), -(-i.channels // hw.cols)
            ends, at, step = [], t + NORM_START, max(beats, NORM_RATE)
            for there in ready.tolist():  # the last word of every row read
                begin = max(at, there)
                end = self.read_stream(begin, words) + (beats - 1) - (words - 1)
                ends.append(end)
                at = max(begin + step, end - step + 2)
            last = np.array(ends) + NORM_FEED + (beats - 1) + norm_latency(hw)
            self.progress[Unit.NORM].add(last + 1)
            t = int(last[-1])
            queue.finished.add([t + 1])

    def read_stream(self, t: int, words: int) -> int:
        """When the last of `words` is read from t on: a residual add reads before the LayerNorm."""
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

    # --- copies

    def load_requests(self):
        """The bursts of an instruction, as long as the queue of beats has room."""
        queue, hw = self.queues["load"], self.hw
        t = asked = 0
        while True:
            i, t = yield from self.taken(queue, t)
            waits = []
            for n in (0, 1):
                waits.append((yield from self.waited(i, n)))
            t = max(t + LOAD_START, *(wait + 1 for wait in waits))
            size = i.pieces * i.piece
            for outer in range(i.count2):
                for middle in range(i.count1):
                    for line in range(i.count0):
                        at = i.address + outer * i.from2 + middle * i.from1 + line * i.from0
                        end = at + size
                        while at < end:
                            stop = min(at - at % BURST_BYTES + BURST_BYTES, end)
                            begin = at - at % hw.bus_bytes
                            beats = -(-(stop - begin) // hw.bus_bytes)
                            asked += beats
                            room = asked - hw.prefetch
                            yield self.load_popped, room
                            t = max(t, self.load_popped.time(room) + 1)
                            yield None, t
                            t, times = self.bus.read(t, beats)
                            t += 1
                            chunks = (stop - at) >> i.chunk
                            tail = (stop - 1) % hw.bus_bytes + 1  # bytes used of the last beat
                            self.bursts.append((times, chunks, min(tail >> i.chunk, chunks)))
                            self.burst_count.add([t])
                            at = stop
                self.bursts.append(i)
                self.burst_count.add([t])
            yield queue.finished, queue.popped.total + 1
            t = queue.finished.time(queue.popped.total + 1)
            queue.popped.add([t])

    def load_writes(self):
        """Chunk after chunk of the beats that have come."""
        written = index = steps = 0
        queue = self.queues["load"]
        while True:
            index += 1
            yield self.burst_count, index
            item = self.bursts[index - 1]
            if isinstance(item, Instruction):
                self.progress[Unit.LOAD].add([written + 1] * item.credit)
                steps += 1
                if steps == item.count2:
                    steps = 0
                    queue.finished.add([written + 1])
                continue
            times, chunks, tail = item
            first = max(written + 1, times[0] + LOAD_BEAT + 1)
            written = max(first + chunks - 1, times[-1] + LOAD_BEAT + tail)
            spread = np.linspace(first, written, len(times)).astype(np.int64)
            self.load_popped.add(spread)

    def store(self):
        queue, hw = self.queues["store"], self.hw
        t = 0
        while True:
            i, t = yield from self.taken(queue, t)
            waits = []
            for n in (0, 1):
                waits.append((yield from self.waited(i, n)))
            t = max(t, *waits) + 1
            word = hw.rows if i.space == Space.ACTS else hw.stream_bytes
            beats = i.words * word // hw.bus_bytes
            ends = t + max(beats, i.words) * np.arange(1, i.lines + 1) + STORE + self.latency
            self.bytes_written += i.lines * beats * hw.bus_bytes
            self.progress[Unit.STORE].add(ends)
            t = int(ends[-1])
            queue.popped.add([t])
            queue.finished.add([t])


def array_latency(hw: Hardware) -> int:
    """Cycles from the beat that completes a row to the row at the epilogue."""
    levels, terms = 0, hw.rows  # of the adder tree, four terms a node
    while terms > 1:
        levels, terms = levels + 1, -(-terms // 4)
    return 5 + max(levels, 1)


def norm_latency(hw: Hardware) -> int:
    """Cycles from the last beat of a row in the LayerNorm to its first one out."""
    return 49 + -(-ceil_log2(hw.norm_lanes) // 2)
