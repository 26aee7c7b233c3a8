"""What moves between memory and the chip: the program, weights, loads and stores."""

from __future__ import annotations

from itertools import count

import numpy as np

from ..machine.hardware import BURST_BYTES, PARAM_BYTES, Hardware
from ..machine.isa import INSTRUCTION_BYTES, Instruction, Opcode, Space, Unit
from .counts import paced
from .timing import FETCH, JOBS, LOAD_BEAT, LOAD_START, QUEUE, READ, START, STORE, UNPACK, WRITE

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


class MemorySide:
    """The processes of `Model` that work on the bus."""

    def sequencer(self):
        """Two bursts are asked for ahead; an instruction takes its beats and one cycle more."""
        per_burst = BURST_BYTES // INSTRUCTION_BYTES
        beats = INSTRUCTION_BYTES // self.hw.bus_bytes
        bursts = -(-len(self.instructions) // per_burst)
        t, asked, arrived = START, START, []
        for n, instruction in enumerate(self.instructions):
            if n == 0:
                asked = yield from self.fetch(asked, min(2, bursts), arrived)
            first, last = arrived[n * beats], arrived[(n + 1) * beats - 1]
            t = max(max(t, first + FETCH) + beats, last + FETCH + 1)  # it is whole
            if n % per_burst == per_burst - 1:
                ahead = min(n // per_burst + 3, bursts) - len(arrived) // self.hw.burst
                asked = yield from self.fetch(max(asked, t), ahead, arrived)
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

    def fetch(self, t: int, bursts: int, arrived: list[int]):
        """Asks for bursts of the program from t on; -> when it could ask for another one."""
        for _ in range(bursts):
            yield None, t
            t, times = self.bus.read(t, self.hw.burst)
            arrived += times
            t += 1
        return t

    def weight_requests(self):
        """The bursts of each GEMM, as long as the queue of beats has room.

        A cycle for each group of tiles that is added to what is wanted, one to size a burst.
        """
        queue, hw = self.queues["weights"], self.hw
        tile_beats = hw.tile_bytes // hw.bus_bytes
        param_beats = hw.cols * PARAM_BYTES // hw.bus_bytes
        t = asked = jobs = 0
        while True:
            i, t = yield from self.taken(queue, t)
            if not i.resident:
                yield self.unpacked_jobs, jobs + 1 - JOBS
                t = max(t, self.unpacked_jobs.time(jobs + 1 - JOBS) + 1)
                jobs += 1
                self.weight_jobs.append(i)
            queue.popped.add([t])
            queue.finished.add([t])
            t += 1
            if i.resident:
                continue
            self.bytes_weights += weight_bytes(i, hw)
            address, wanted, group, groups = i.address // hw.bus_bytes, 0, 0, i.outer * i.k_groups
            while True:
                most = hw.burst - address % hw.burst
                while group < groups and wanted < most:
                    wanted += i.k_tiles * tile_beats + (group % i.k_groups == 0) * param_beats
                    group, t = group + 1, t + 1
                beats, t = min(wanted, most), t + 1
                if not beats:
                    break
                asked += beats
                t, times = yield from self.burst(t, beats, asked, self.weight_popped)
                self.weight_bursts.append(times)
                self.weight_arrived.add(times)
                address, wanted = address + beats, wanted - beats

    def burst(self, t: int, beats: int, asked: int, popped):
        """Ask from t on for a burst, when the queue of hw.prefetch beats has room for all `asked`
        so far. Returns when the next may be asked for, and the times of its beats.
        """
        room = asked - self.hw.prefetch
        yield popped, room
        t = max(t, popped.time(room) + 1)
        yield None, t
        t, times = self.bus.read(t, beats)
        return t + 1, times

    def weights(self):
        """Beats that have come, one a cycle: into parameter memory, then into the ring, while they
        have room. What lies in one burst and finds room is unpacked at once.
        """
        hw = self.hw
        tile_beats = hw.tile_bytes // hw.bus_bytes
        param_beats = hw.cols * PARAM_BYTES // hw.bus_bytes
        last, number = -1, 0
        times = range(0)  # of the burst's beats that are still to be unpacked

        def burst():
            nonlocal number
            number += 1
            yield self.weight_arrived, self.weight_popped.total + 1
            return self.weight_bursts[number - 1]

        for number_of_job in count():
            yield self.weight_arrived, self.weight_popped.total + 1
            i = self.weight_jobs[number_of_job]
            for _ in range(i.outer):
                left = param_beats
                room = self.params_loaded.total + 1 - hw.params
                yield self.params_released, room
                first = self.params_released.time(room)
                while left:
                    times = times or (yield from burst())
                    n = min(left, len(times))
                    first = max(first, last + 1, times[0] + UNPACK)
                    popped = range(first, first + n)
                    last, first = popped[-1], 0
                    self.weight_popped.add(popped)
                    times, left = times[n:], left - n
                self.params_loaded.add([last + 1])
                left, begun = i.k_groups * i.k_tiles * tile_beats, 0  # begun: beats of a tile
                while left:
                    times = times or (yield from burst())
                    tile = self.loaded.total + 1 - hw.ring  # to be released
                    yield self.released, tile
                    known = max(self.released.total - tile + 1, 1) * tile_beats - begun
                    n = min(left, len(times), known)
                    end = tile + (begun + n - 1) // tile_beats
                    first = max(last + 1, times[0] + UNPACK, self.released.time(tile))
                    popped = range(first, first + n)
                    if self.released.time(end) > first:
                        room = self.released.span(tile, end - tile + 1)
                        ready = np.repeat(room, tile_beats)[begun : begun + n]
                        popped = paced(np.maximum(ready, popped), 1, first)
                    yield None, int(popped[0])
                    if popped[0] <= self.tiles_written:
                        popped = self.refused(popped)
                    last = int(popped[-1])
                    self.weight_popped.add(popped)
                    whole = popped[tile_beats - begun - 1 :: tile_beats]
                    begun = (begun + n) % tile_beats
                    self.loaded.add([int(t) + 1 for t in whole])
                    times, left = times[n:], left - n
            self.unpacked_jobs.add([last])

    def refused(self, times) -> list[int]:
        """Beats for the tile memory that wait while the epilogue writes keys or values."""
        moved, t = [], -1
        for time in times:
            t = max(t + 1, int(time))
            while t in self.tile_writes:
                t += 1
            moved.append(t)
        return moved

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
                            t, times = yield from self.burst(t, beats, asked, self.load_popped)
                            chunks = (stop - at) >> i.chunk
                            tail = (stop - 1) % hw.bus_bytes + 1  # bytes used of the last beat
                            tail = min(tail >> i.chunk, chunks)
                            self.bursts.append((times, chunks, tail, i.space))
                            self.burst_count.add([t])
                            at = stop
                self.bursts.append(i)
                self.burst_count.add([t])
            yield queue.finished, queue.popped.total + 1
            t = queue.finished.time(queue.popped.total + 1)
            queue.popped.add([t])
            t += 1

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
            times, chunks, tail, space = item
            first = max(written + 1, times[0] + LOAD_BEAT + 1)
            end = first + chunks - 1
            if space == Space.STREAM:  # the epilogue writes before it
                yield None, first
                end = self.beside_residuals(first - WRITE + READ, chunks) + WRITE - READ
            written = max(end, times[-1] + LOAD_BEAT + tail)
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
            steps = np.arange(1, i.lines + 1)
            ends = t + max(beats, i.words) * steps
            if i.space == Space.ACTS:  # the array reads before it
                done = self.free.before(t)
                yield self.free, done + i.lines * i.words
                read = [self.free.time(done + n * i.words) for n in steps.tolist()]
                ends = np.maximum(ends, read)
            ends = ends + STORE + self.latency
            self.bytes_written += i.lines * beats * hw.bus_bytes
            self.progress[Unit.STORE].add(ends)
            t = int(ends[-1])
            queue.popped.add([t])
            queue.finished.add([t])
