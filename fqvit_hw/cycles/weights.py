"""Weights: bursts are asked for ahead of the array, their beats unpacked into the ring."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from ..machine.gemm import GemmView
from ..machine.isa import Instruction
from .scheduler import Process, paced
from .shared import Shared
from .timing import JOBS, LOADED, UNPACK, WEIGHTS_ASK


class Weights:
    """jobs: GEMMs whose weights are asked for; bursts: times of their beats; arrived, popped:
    beats; unpacked: jobs that are done with; bytes: of weights and parameters."""

    def __init__(self, shared: Shared):
        self.shared = shared
        self.jobs: list[Instruction] = []
        self.bursts: list[range] = []
        self.arrived, self.popped = shared.count(), shared.count()
        self.unpacked = shared.count()
        self.bytes = 0

    def requests(self) -> Process:
        """The bursts of each GEMM, as long as the queue of beats has room.

        A cycle for each group of tiles that is added to what is wanted, then WEIGHTS_ASK to size a
        burst and find room for it.
        """
        queue, hw = self.shared.queues["weights"], self.shared.hw
        tile_beats, param_beats = hw.tile_beats, hw.param_beats
        t = asked = jobs = 0
        while True:
            instruction, t = yield from self.shared.taken(queue, t)
            if not instruction.resident:
                yield self.unpacked, jobs + 1 - JOBS
                t = max(t, self.unpacked.time(jobs + 1 - JOBS) + 1)
                jobs += 1
                self.jobs.append(instruction)
            queue.popped.add([t])
            queue.finished.add([t])
            t += 1
            if instruction.resident:
                continue
            gemm = GemmView(instruction, hw)
            self.bytes += gemm.weight_bytes
            address, wanted, group = instruction.address // hw.bus_bytes, 0, 0
            while True:
                most = hw.burst - address % hw.burst
                while group < gemm.passes and wanted < most:
                    first = group % instruction.k_groups == 0
                    wanted += instruction.k_tiles * tile_beats + first * param_beats
                    group, t = group + 1, t + 1
                beats, t = min(wanted, most), t + WEIGHTS_ASK
                if not beats:
                    break
                asked += beats
                t, times = yield from self.shared.burst(t, beats, asked, self.popped)
                self.bursts.append(times)
                self.arrived.add(times)
                address, wanted = address + beats, wanted - beats

    def unpack(self) -> Process:
        """Beats that have come, one a cycle: into parameter memory, then into the ring, while they
        have room. What lies in one burst and finds room is unpacked at once.
        """
        hw = self.shared.hw
        tile_beats, param_beats = hw.tile_beats, hw.param_beats
        last, number = -1, 0
        times = range(0)  # of the burst's beats that are still to be unpacked

        def burst():
            nonlocal number
            number += 1
            yield self.arrived, self.popped.total + 1
            return self.bursts[number - 1]

        for number_of_job in count():
            yield self.arrived, self.popped.total + 1
            instruction = self.jobs[number_of_job]
            for _ in range(instruction.outer):
                left = param_beats
                room = self.shared.params_loaded.total + 1 - hw.params
                yield self.shared.params_released, room
                first = self.shared.params_released.time(room)
                while left:
                    times = times or (yield from burst())
                    n = min(left, len(times))
                    first = max(first, last + 1, times[0] + UNPACK)
                    popped = range(first, first + n)
                    last, first = popped[-1], 0
                    self.popped.add(popped)
                    times, left = times[n:], left - n
                self.shared.params_loaded.add([last + 1])
                left = instruction.k_groups * instruction.k_tiles * tile_beats
                begun = 0  # beats of a tile
                while left:
                    times = times or (yield from burst())
                    tile = self.shared.loaded.total + 1 - hw.ring  # to be released
                    yield self.shared.released, tile
                    known = max(self.shared.released.total - tile + 1, 1) * tile_beats - begun
                    n = min(left, len(times), known)
                    end = tile + (begun + n - 1) // tile_beats
                    first = max(last + 1, times[0] + UNPACK, self.shared.released.time(tile))
                    popped = range(first, first + n)
                    if self.shared.released.time(end) > first:
                        room = self.shared.released.span(tile, end - tile + 1)
                        ready = np.repeat(room, tile_beats)[begun : begun + n]
                        popped = paced(np.maximum(ready, popped), 1, first)
                    yield None, int(popped[0])
                    if popped[0] <= self.shared.tiles_written:
                        popped = self.refused(popped)
                    last = int(popped[-1])
                    self.popped.add(popped)
                    whole = popped[tile_beats - begun - 1 :: tile_beats]
                    begun = (begun + n) % tile_beats
                    self.shared.loaded.add([int(t) + LOADED for t in whole])
                    times, left = times[n:], left - n
            self.unpacked.add([last])

    def refused(self, times: Sequence[int] | np.ndarray) -> list[int]:
        """Beats for the tile memory that wait while the epilogue writes keys or values."""
        moved, t = [], -1
        for time in times:
            t = max(t + 1, int(time))
            while t in self.shared.tile_writes:
                t += 1
            moved.append(t)
        return moved
