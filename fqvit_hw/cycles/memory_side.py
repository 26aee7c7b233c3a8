"""What moves between memory and the chip: the program, weights, loads and stores."""

from __future__ import annotations

import numpy as np

from ..hardware import BURST_BYTES, PARAM_BYTES, Hardware
from ..isa import INSTRUCTION_BYTES, Instruction, Opcode, Space, Unit
from .timing import FETCH, LOAD_BEAT, LOAD_START, QUEUE, START, STORE, UNPACK

QUEUES = ("weights", "array", "norm", "load", "store")  # the epilogue follows the array
QUEUES_OF = {
    Opcode.LOAD: ("load",),
    Opcode.STORE: ("store",),
    Opcode.NORM: ("norm",),
    Opcode.GEMM: ("weights", "array"),
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
                    t = yield from self.unpack(t, self.params_released.time(room), param_beats)
                    self.params_loaded.add([t + 1])
                    for _ in range(i.k_groups * i.k_tiles):
                        room = self.loaded.total + 1 - hw.ring
                        yield self.released, room
                        t = yield from self.unpack(t, self.released.time(room), tile_beats)
                        self.loaded.add([t + 1])
            queue.finished.add([t])

    def unpack(self, t: int, room: int, beats: int):
        """-> when the last one of the next beats is written, after t and from `room` on."""
        done = self.unpacked.total
        yield self.arrived, done + beats
        start = max(t + 1, room, self.arrived.time(done + 1) + UNPACK)
        last = max(start + beats - 1, self.arrived.time(done + beats) + UNPACK)
        self.unpacked.add(range(last - beats + 1, last + 1))
        return last

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
