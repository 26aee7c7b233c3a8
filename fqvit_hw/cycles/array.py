"""The array, and the epilogue and the softmax that follow it row by row.

All rows of a pass are computed at once, where nothing that they do themselves holds them up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..machine.gemm import TO_ACTS, TO_TILES, GemmView
from ..machine.isa import Epilogue, Instruction, Unit
from .scheduler import Process, paced
from .shared import Shared
from .timing import (
    CHUNK,
    ISSUE,
    READ,
    ROOM,
    ROW,
    ROW_RATE,
    SCORES,
    SCORES_WAITING,
    WRITE,
    array_latency,
    reciprocal_latency,
    softmax_latency,
)


@dataclass
class GemmRun:
    """start: the cycle from which the array is at it; end: the one after its last beat; busy: its
    beats."""

    instruction: Instruction
    start: int
    end: int = 0
    busy: int = 0


class Array:
    """runs: of the GEMMs, in order; popped_rows: when the epilogue took the last ROOM rows;
    spare_until: the cycle up to which `Shared.free` is known."""

    def __init__(self, shared: Shared):
        self.shared, self.hw = shared, shared.hw
        self.runs: list[GemmRun] = []
        self.popped_rows = np.full(ROOM, -(1 << 40), np.int64)
        self.spare_until = 0

    def work(self) -> Process:
        """Array and epilogue side by side: ROOM rows of accumulators may wait between them.

        issued: the last beat; entered: the last chunk of the epilogue.
        """
        shared = self.shared
        queue, behind = shared.queues["array"], shared.queues["epilogue"]
        issued, entered, before = -1, -WRITE, -ISSUE
        while True:
            instruction, taken = yield from shared.taken(queue, before)
            queue.popped.add([taken])
            # the epilogue takes it when the one before is written
            begun = max(behind.pushed.time(behind.popped.total + 1), entered + WRITE)
            behind.popped.add([begun])
            behind.finished.add([begun])
            gemm = GemmView(instruction, self.hw)
            coupled = self.follows_norm(gemm)
            ready = yield from shared.row_waits(instruction, 1 if coupled else instruction.rows)
            ready = ready + ROW
            ready[0] += 1
            issue = max(issued + 1, taken + ISSUE, int(ready[0]))
            run = GemmRun(instruction, issue)
            self.runs.append(run)
            before = issue  # the next one may be taken
            chunk = yield from shared.waited(instruction, 2)
            chunk = max(chunk, begun + CHUNK)
            chunks = np.zeros(0, np.int64)
            for o in range(instruction.outer):
                if not instruction.scalar:
                    params = shared.params_released.total + 1
                    yield shared.params_loaded, params
                    chunk = max(chunk, shared.params_loaded.time(params))
                for group in range(instruction.k_groups):
                    if not gemm.resident:
                        issue = yield from self.tiles_there(instruction.k_tiles, issue)
                    yield None, issue
                    started = issue
                    ends = group == instruction.k_groups - 1
                    if coupled:
                        rows, chunks = yield from self.rows_after_norm(gemm, issue, chunk)
                        coupled = False
                    else:
                        rows, chunks = self.rows_of_pass(gemm, o, ready, issue, chunk, ends)
                        shared.progress[Unit.ARRAY].add(rows + 2)
                    issue = int(rows[-1]) + 1
                    ready = np.zeros(instruction.rows, np.int64)
                    run.busy += instruction.rows * instruction.inner * instruction.k_tiles
                    if not gemm.resident:
                        shared.released.add([issue] * instruction.k_tiles)
                self.tell_writes(gemm, o, chunks, started)
                entered = int(chunks[-1])
                chunk = entered + 1
                if not instruction.scalar:
                    shared.params_released.add([entered + 1])
                shared.progress[Unit.EPILOGUE].add(chunks + WRITE + 1)
            self.spare_of(run, issued + 1, issue)
            run.end, issued = issue, issue - 1
            if gemm.epilogue is Epilogue.SCORES:
                self.codes(gemm, chunks + WRITE)
            queue.finished.add([entered + WRITE + 1])

    def tiles_there(self, k_tiles: int, issue: int) -> Process:
        """-> when the first row of a pass may begin, issue or later: it meets its tiles one by
        one."""
        base = self.shared.released.total
        yield self.shared.loaded, base + k_tiles
        times = self.shared.loaded.span(base + 1, k_tiles) - np.arange(k_tiles)
        return max(issue, int(times.max()))

    def tell_writes(self, gemm: GemmView, tile: int, chunks: np.ndarray, started: int) -> None:
        """When the epilogue of a column tile reads the stream, or writes keys or values.

        chunks: of each row, when its last one enters the epilogue
        """
        shared, cost = self.shared, gemm.chunks(tile)
        if gemm.epilogue is Epilogue.RESIDUAL:
            first, last = int(chunks[0]), int(chunks[-1])
            share = min(1, cost * len(chunks) / (last - first + 1))
            shared.residuals.append((first + READ, last + READ, share))
        if gemm.epilogue in TO_TILES:
            writes = chunks[:, None] + WRITE - np.arange(cost)
            shared.tile_writes = {t for t in shared.tile_writes if t >= started}
            shared.tile_writes.update(writes.ravel().tolist())
            shared.tiles_written = int(chunks[-1]) + WRITE

    # --- cycles in which the array leaves the activations alone

    def spare_of(self, run: GemmRun, before: int, end: int) -> None:
        """Those since the last GEMM, up to the end of this one."""
        before = max(before, self.spare_until)
        busy = 0 if run.instruction.codes else run.busy
        self.shared.free.add(range(before, run.start))
        first = max(run.start, before)
        count = max(end - first - busy, 0)
        self.shared.free.add(
            np.linspace(first, end - 1, count).astype(np.int64) if busy else range(first, end)
        )
        self.spare_until = max(end, before)

    def spare(self, cycles: int) -> None:
        """The array is idle for some cycles more than was known."""
        self.shared.free.add(range(self.spare_until, self.spare_until + cycles))
        self.spare_until += cycles

    # --- a pass of all rows: when each was read, and when its last chunk entered the epilogue

    def rows_of_pass(
        self, gemm: GemmView, o: int, ready: np.ndarray, issue: int, chunk: int, ends: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """ends: the pass is the last of its column tile, others give the epilogue nothing."""
        instruction = gemm.instruction
        k, inner = instruction.k_tiles, instruction.inner
        starts = paced(ready, inner * k, issue)
        if not ends:
            return starts + k - 1, np.zeros(0, np.int64)
        chunks = np.array([gemm.chunks(o * inner + j) for j in range(inner)])
        there = array_latency(self.hw)
        # without back pressure: beat that completes each row tile, chunk that takes it
        done = (starts[:, None] + k * np.arange(1, inner + 1) - 1).ravel()
        cost = np.tile(chunks, instruction.rows)
        total = np.cumsum(cost)
        begin = np.maximum(done + there, chunk) - (total - cost)
        popped = np.maximum.accumulate(begin) + total - 1
        history = np.concatenate([self.popped_rows, popped])
        late = (done <= history[: len(done)]).any()
        if gemm.epilogue is Epilogue.SCORES and not late:
            late = self.short_of_places(gemm, popped[inner - 1 :: inner])
        if late:
            done, popped = self.held_rows(gemm, ready, issue, chunk, chunks)
            history = np.concatenate([self.popped_rows, popped])
        self.popped_rows = history[-ROOM:]
        return done[inner - 1 :: inner], popped[inner - 1 :: inner]

    def follows_norm(self, gemm: GemmView) -> bool:
        """Is the GEMM one whose writes hold up others while it waits for rows of the norm unit?"""
        instruction = gemm.instruction
        stepped = instruction.wait0_unit == Unit.NORM and instruction.wait0_step
        if not stepped or instruction.k_groups > 1 or gemm.epilogue not in TO_ACTS | TO_TILES:
            return False
        last = instruction.wait0_count + instruction.rows - 1
        return self.shared.progress[Unit.NORM].total < last

    def rows_after_norm(self, gemm: GemmView, issue: int, chunk: int) -> Process:
        """The first pass of such a GEMM, row by row: what it writes to the activations holds up the
        rows to come, what to the tiles, weights.
        """
        shared, instruction = self.shared, gemm.instruction
        k, there = instruction.k_tiles, array_latency(self.hw)
        costs = [gemm.chunks(j) for j in range(instruction.inner)]
        recent = self.popped_rows.tolist()
        done, popped = [], []
        at, free = issue - 1, chunk - 1
        acts = gemm.epilogue in TO_ACTS
        writes = shared.acts_writes if acts else shared.tile_writes
        writes.clear()
        start = yield from shared.waited(instruction, 1)
        for r in range(instruction.rows):
            ready = (yield from shared.row_wait(instruction, r, start)) + ROW
            at = max(at, ready + (r == 0) - 1)
            for cost in costs:
                at = max(at + k, recent[-ROOM] + 1)
                free = max(at + there, free + 1) + cost - 1
                recent.append(free)
                writes.update(range(free + WRITE - cost + 1, free + WRITE + 1))
                if not acts:
                    shared.tiles_written = free + WRITE
            done.append(at)
            popped.append(free)
            shared.progress[Unit.ARRAY].add([at + 2])
        self.popped_rows = np.array(recent[-ROOM:])
        return np.array(done), np.array(popped)

    def held_rows(
        self, gemm: GemmView, ready: np.ndarray, issue: int, chunk: int, chunks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Every row tile of a pass where the array waits for the epilogue to take a row, or the
        epilogue for the softmax to take scores: one after another.
        """
        k, there = gemm.instruction.k_tiles, array_latency(self.hw)
        scores = gemm.epilogue is Epilogue.SCORES
        start, step, beats = self.softmax_pace(gemm)
        recent = self.popped_rows.tolist()
        done, popped = [], []
        at, free = issue - 1, chunk - 1
        ends = [start - 1 - step] * (1 + -(-SCORES_WAITING // beats))  # of the rows in the softmax
        for r in range(gemm.instruction.rows):
            at = max(at, int(ready[r]) - 1)
            for n, cost in enumerate(chunks.tolist()):
                at = max(at + k, recent[-ROOM] + 1)
                free = max(at + there, free + 1) + cost - 1
                if scores:  # the beat SCORES_WAITING before this one has left its place
                    in_row = min((n + 1) * self.hw.cols // self.hw.lanes, beats)
                    row, place = divmod(r * beats + in_row - 1 - SCORES_WAITING, beats)
                    if row >= 0:
                        before = ends[row - r - 1]
                        last = place == beats - 1
                        free = max(free, ends[row - r] + 1 if last else before + place + 2)
                done.append(at)
                popped.append(free)
                recent.append(free)
            if scores:
                first = start + beats - 1 if r == 0 else ends[-1] + step
                ends.append(max(free + WRITE + SCORES, first))
        return np.array(done), np.array(popped)

    # --- the softmax

    def softmax_pace(self, gemm: GemmView) -> tuple[int, int, int]:
        """When the softmax takes the first beat of a SCORES; cycles and beats of a row."""
        count, beats = (
            self.shared.progress[Unit.CODES],
            -(-gemm.instruction.columns // self.hw.lanes),
        )
        return count.time(count.total) + 1, max(beats, ROW_RATE), beats

    def short_of_places(self, gemm: GemmView, entered: np.ndarray) -> bool:
        """Would the scores of rows be more than their queue holds?"""
        start, step, beats = self.softmax_pace(gemm)
        left = paced(entered + WRITE + SCORES, step, start + beats - 1)
        rows = SCORES_WAITING // beats
        if gemm.instruction.rows * beats <= SCORES_WAITING:
            return False
        before = np.concatenate([[start - 1], left])[: len(left)]  # the row before has left
        return bool((entered[rows:] <= before[: len(left) - rows]).any())

    def codes(self, gemm: GemmView, written: np.ndarray) -> None:
        """Rows of codes, from when the last score of each is written."""
        start, step, beats = self.softmax_pace(gemm)
        last = paced(written + SCORES, step, start + beats - 1)
        codes = last + softmax_latency(self.hw, beats) + beats + reciprocal_latency(self.hw)
        self.shared.progress[Unit.CODES].add(codes)
