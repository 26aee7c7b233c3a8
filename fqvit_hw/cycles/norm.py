"""The LayerNorm unit."""

from __future__ import annotations

from bisect import bisect_right

from ..machine.isa import Unit
from .scheduler import Process
from .shared import Shared
from .timing import NORM_FEED, NORM_RATE, NORM_START, NORM_WAIT, NORM_WRITE, norm_latency


class Norm:
    def __init__(self, shared: Shared):
        self.shared = shared

    def work(self) -> Process:
        """Row by row, on a clock that stands still while the epilogue writes instead of a beat."""
        queue, hw = self.shared.queues["norm"], self.shared.hw
        t = 0
        while True:
            instruction, t = yield from self.shared.taken(queue, t)
            queue.popped.add([t])
            start = yield from self.shared.waited(instruction, 1)
            beats, words = (
                -(-instruction.channels // hw.norm_lanes),
                -(-instruction.channels // hw.cols),
            )
            at, step = t + NORM_START, max(beats, NORM_RATE)
            through = NORM_FEED + (beats - 1) + norm_latency(hw) + NORM_WRITE
            refused: list[int] = []  # when the clock stood still, in its own time
            last = t
            for r in range(instruction.rows):
                there = yield from self.shared.row_wait(instruction, r, start)
                if refused:
                    there -= bisect_right(refused, there - len(refused))
                begin = max(at, there + NORM_WAIT)
                stood = bisect_right(refused, begin)
                # the last word of the row read
                end = (
                    self.shared.beside_residuals(begin + stood, words)
                    - stood
                    + (beats - 1)
                    - (words - 1)
                )
                at = max(begin + step, end - step + 2)
                for beat in range(end + through - beats + 1, end + through + 1):
                    yield None, beat + len(refused)
                    while beat + len(refused) in self.shared.acts_writes:
                        refused.append(beat)
                        yield None, beat + len(refused)
                last = end + through + len(refused)
                self.shared.progress[Unit.NORM].add([last + 1])
            t = last + 1
            queue.finished.add([t + 1])
