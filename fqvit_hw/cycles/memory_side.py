"""What moves between memory and the chip: the program, weights, loads and stores."""

from __future__ import annotations

from collections import deque

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

    def weights(self):
        """Parameters, then the tiles of each column tile: asked for as long as the queue of beats
        has room, unpacked a beat a cycle while parameter memory and ring have room.
        """
        queue, hw = self.queues["weights"], self.hw
        tile_beats = hw.tile_bytes // hw.bus_bytes
        param_beats = hw.cols * PARAM_BYTES // hw.bus_bytes
        batch = max(hw.burst // tile_beats, 1)  # tiles looked at together
        ahead = deque()  # (beats, when they were unpacked) of what still takes room in the queue
        asked = held = unpacked = 0

        def stream(room: int, beats: int):
            """-> when the last one of the next beats is written, from `room` on."""
            nonlocal asked, held, unpacked
            held += beats
            while held > max(hw.prefetch, beats):
                freed, time = ahead.popleft()
                held, asked = held - freed, max(asked, time + 1)
            yield None, asked
            asked, times = self.bus.read(asked, beats)
            asked += 2 * -(-beats // hw.burst)
            first = max(unpacked + 1, room, times[0] + UNPACK)
            unpacked = max(first + beats - 1, times[-1] + UNPACK)
            ahead.append((beats, unpacked))

        while True:
            i, t = yield from self.taken(queue, asked)
            queue.popped.add([t])
            asked = t + 1
            if i.resident:
                queue.finished.add([t])
                continue
            asked += 1
            self.bytes_weights += weight_bytes(i, hw)
            for _ in range(i.outer):
                room = self.params_loaded.total + 1 - hw.params
                yield self.params_released, room
                yield from stream(self.params_released.time(room), param_beats)
                self.params_loaded.add([unpacked + 1])
                left = i.k_groups * i.k_tiles
                while left:
                    tiles = min(batch, left)
                    room = self.loaded.total + tiles - hw.ring
                    yield self.released, room
                    yield from stream(self.released.time(room), tiles * tile_beats)
                    last = unpacked + 1
                    self.loaded.add(range(last - (tiles - 1) * tile_beats, last + 1, tile_beats))
                    left -= tiles
            queue.finished.add([unpacked])

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
