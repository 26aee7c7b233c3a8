"""What moves row by row: the array, the epilogue and the softmax behind it, the LayerNorm."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import ceil

import numpy as np

from ..machine.isa import Epilogue, Instruction, Unit
from .counts import paced
from .timing import (
    CHUNK,
    ISSUE,
    NORM_FEED,
    NORM_RATE,
    NORM_START,
    READ,
    RECIPROCAL,
    ROOM,
    ROW,
    ROW_RATE,
    SCORES,
    SCORES_WAITING,
    SOFTMAX,
    WRITE,
    array_latency,
    norm_latency,
)

TO_ACTS = (Epilogue.CODES8, Epilogue.GELU)  # what writes activations
TO_TILES = (Epilogue.KEYS, Epilogue.VALUES)


@dataclass
class Gemm:
    """start: the cycle from which the array is at it; end: the one after its last beat."""

    instruction: Instruction
    start: int
    end: int = 0
    busy: int = 0


class RowSide:
    """The processes of `Model` that work on rows."""

    def array(self):
        """Array and epilogue side by side: ROOM rows of accumulators may wait between them.

        issued: the last beat; popped_rows: when the epilogue took the last ROOM rows; entered: its
        last chunk.
        """
        queue = self.queues["array"]
        self.popped_rows = np.full(ROOM, -(1 << 40), np.int64)
        issued, entered, before, self.spare_until = -1, -WRITE, -ISSUE, 0
        while True:
            i, taken = yield from self.taken(queue, before)
            queue.popped.add([taken])
            behind = self.queues["epilogue"]  # is taken when the one before is written
            begun = max(behind.pushed.time(behind.popped.total + 1), entered + WRITE)
            behind.popped.add([begun])
            behind.finished.add([begun])
            coupled = self.follows_norm(i)
            ready = (yield from self.row_waits(i, 1 if coupled else i.rows)) + ROW
            ready[0] += 1
            issue = max(issued + 1, taken + ISSUE, int(ready[0]))
            gemm = Gemm(i, issue)
            self.gemms.append(gemm)
            before = issue  # the next one may be taken
            chunk = yield from self.waited(i, 2)
            chunk = max(chunk, begun + CHUNK)
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
                    started = issue
                    ends = group == i.k_groups - 1
                    if coupled:
                        rows, chunks = yield from self.rows_after_norm(i, issue, chunk)
                        coupled = False
                    else:
                        rows, chunks = self.rows_of_pass(i, o, ready, issue, chunk, ends)
                        self.progress[Unit.ARRAY].add(rows + 2)
                    issue = int(rows[-1]) + 1
                    ready = np.zeros(i.rows, np.int64)
                    gemm.busy += i.rows * i.inner * i.k_tiles
                    if not i.resident:
                        self.released.add([issue] * i.k_tiles)
                if i.epilogue == Epilogue.RESIDUAL:
                    reads = self.chunks(i, o) * i.rows
                    first, last = int(chunks[0]), int(chunks[-1])
                    span = (first + READ, last + READ, min(1, reads / (last - first + 1)))
                    self.residuals.append(span)
                if i.epilogue in TO_TILES:
                    writes = chunks[:, None] + WRITE - np.arange(self.chunks(i, o))
                    self.tile_writes = {t for t in self.tile_writes if t >= started}
                    self.tile_writes.update(writes.ravel().tolist())
                    self.tiles_written = int(chunks[-1]) + WRITE
                entered = int(chunks[-1])
                chunk = entered + 1
                if not i.scalar:
                    self.params_released.add([entered + 1])
                self.progress[Unit.EPILOGUE].add(chunks + WRITE + 1)
                scored.append(chunks + WRITE)
            self.spare_of(gemm, issued + 1, issue)
            gemm.end, issued = issue, issue - 1
            if i.epilogue == Epilogue.SCORES:
                self.codes(i, scored[0])
            queue.finished.add([entered + WRITE + 1])

    def spare_of(self, gemm: Gemm, before: int, end: int) -> None:
        """The cycles since the last GEMM in which the array has left the activations alone."""
        before = max(before, self.spare_until)
        busy = 0 if gemm.instruction.bitshift else gemm.busy
        idle = range(before, gemm.start)
        self.free.add(idle)
        first = max(gemm.start, before)
        count = max(end - first - busy, 0)
        self.free.add(
            np.linspace(first, end - 1, count).astype(np.int64) if busy else range(first, end)
        )
        self.spare_until = max(end, before)

    def spare(self, cycles: int) -> None:
        """The array is idle for some cycles more than was known."""
        self.free.add(range(self.spare_until, self.spare_until + cycles))
        self.spare_until += cycles

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
        late = (done <= history[: len(done)]).any()
        if i.epilogue == Epilogue.SCORES and not late:
            late = self.short_of_places(i, popped[i.inner - 1 :: i.inner])
        if late:
            done, popped = self.held_rows(i, ready, issue, chunk, chunks)
            history = np.concatenate([self.popped_rows, popped])
        self.popped_rows = history[-ROOM:]
        return done[i.inner - 1 :: i.inner], popped[i.inner - 1 :: i.inner]

    def follows_norm(self, i: Instruction) -> bool:
        """Is the GEMM one whose writes hold up others while it waits for rows of the norm unit?"""
        if i.wait0_unit != Unit.NORM or not i.wait0_step or i.k_groups > 1:
            return False
        last = i.wait0_count + (i.rows - 1) * i.wait0_step
        writes = i.epilogue in (*TO_ACTS, *TO_TILES)
        return writes and self.progress[Unit.NORM].total < last

    def rows_after_norm(self, i: Instruction, issue: int, chunk: int):
        """The first pass of such a GEMM, row by row: what it writes to the activations holds up the
        rows to come, what to the tiles, weights.
        """
        k, there = i.k_tiles, array_latency(self.hw)
        costs = [self.chunks(i, j) for j in range(i.inner)]
        recent = self.popped_rows.tolist()
        done, popped = [], []
        at, free = issue - 1, chunk - 1
        acts = i.epilogue in TO_ACTS
        writes = self.acts_writes if acts else self.tile_writes
        writes.clear()
        start = yield from self.waited(i, 1)
        for r in range(i.rows):
            ready = (yield from self.row_wait(i, r, start)) + ROW
            at = max(at, ready + (r == 0) - 1)
            for cost in costs:
                at = max(at + k, recent[-ROOM] + 1)
                free = max(at + there, free + 1) + cost - 1
                recent.append(free)
                writes.update(range(free + WRITE - cost + 1, free + WRITE + 1))
                if not acts:
                    self.tiles_written = free + WRITE
            done.append(at)
            popped.append(free)
            self.progress[Unit.ARRAY].add([at + 2])
        self.popped_rows = np.array(recent[-ROOM:])
        return np.array(done), np.array(popped)

    def held_rows(self, i: Instruction, ready, issue: int, chunk: int, chunks):
        """The same, where the array waits for the epilogue to take a row, or the epilogue for the
        softmax to take scores: one after another.
        """
        k, there = i.k_tiles, array_latency(self.hw)
        scores = i.epilogue == Epilogue.SCORES
        start, step, beats = self.softmax_pace(i)
        recent = self.popped_rows.tolist()
        done, popped = [], []
        at, free = issue - 1, chunk - 1
        ends = [start - 1 - step] * (1 + -(-SCORES_WAITING // beats))  # of the rows in the softmax
        for r in range(i.rows):
            at = max(at, int(ready[r]) - 1)
            for n, cost in enumerate(chunks.tolist()):
                at = max(at + k, recent[-ROOM] + 1)
                free = max(at + there, free + 1) + cost - 1
                if scores:  # the beat SCORES_WAITING before this one has left its place
                    beat = r * beats + min((n + 1) * self.hw.cols // self.hw.lanes, beats) - 1
                    row, place = divmod(beat - SCORES_WAITING, beats)
                    if row >= 0:
                        before = ends[row - r - 1]
                        free = max(free, ends[row - r] + 1 if place == beats - 1
                                   else before + place + 2)  # fmt: skip
                done.append(at)
                popped.append(free)
                recent.append(free)
            if scores:
                first = start + beats - 1 if r == 0 else ends[-1] + step
                ends.append(max(free + WRITE + SCORES, first))
        return np.array(done), np.array(popped)

    def softmax_pace(self, i: Instruction):
        """When the softmax takes the first beat of a SCORES; cycles and beats of a row."""
        beats, count = -(-i.columns // self.hw.lanes), self.progress[Unit.CODES]
        return count.time(count.total) + 1, max(beats, ROW_RATE), beats

    def short_of_places(self, i: Instruction, entered: np.ndarray) -> bool:
        """Would the scores of rows be more than their queue holds?"""
        start, step, beats = self.softmax_pace(i)
        left = paced(entered + WRITE + SCORES, step, start + beats - 1)
        rows = SCORES_WAITING // beats
        if i.rows * beats <= SCORES_WAITING:
            return False
        before = np.concatenate([[start - 1], left])[: len(left)]  # the row before has left
        return bool((entered[rows:] <= before[: len(left) - rows]).any())

    def chunks(self, i: Instruction, tile: int) -> int:
        """Cycles of the epilogue for a row of column tile `tile`."""
        columns = min(max(i.columns - tile * self.hw.cols, 1), self.hw.cols)
        return -(-columns // self.hw.lanes)

    def codes(self, i: Instruction, written: np.ndarray) -> None:
        """Rows of codes, from when the last score of each is written."""
        count = self.progress[Unit.CODES]
        start, step, beats = self.softmax_pace(i)
        last = paced(written + SCORES, step, start + beats - 1)
        count.add(last + SOFTMAX + beats + beats - 1 + RECIPROCAL + 1)

    def norm(self):
        """Row by row, on a clock that stands still while the epilogue writes instead of a beat."""
        queue, hw = self.queues["norm"], self.hw
        t = 0
        while True:
            i, t = yield from self.taken(queue, t)
            queue.popped.add([t])
            start = yield from self.waited(i, 1)
            beats, words = -(-i.channels // hw.norm_lanes), -(-i.channels // hw.cols)
            at, step = t + NORM_START, max(beats, NORM_RATE)
            through = NORM_FEED + (beats - 1) + norm_latency(hw)
            refused: list[int] = []  # when the clock stood still, in its own time
            last = t
            for r in range(i.rows):
                there = yield from self.row_wait(i, r, start)
                if refused:
                    there -= bisect_right(refused, there - len(refused))
                begin = max(at, there)
                stood = bisect_right(refused, begin)
                # the last word of the row read
                end = (
                    self.beside_residuals(begin + stood, words) - stood + (beats - 1) - (words - 1)
                )
                at = max(begin + step, end - step + 2)
                for beat in range(end + through - beats + 1, end + through + 1):
                    yield None, beat + len(refused)
                    while beat + len(refused) in self.acts_writes:
                        refused.append(beat)
                        yield None, beat + len(refused)
                last = end + through + len(refused)
                self.progress[Unit.NORM].add([last + 1])
            t = last
            queue.finished.add([t + 1])

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
