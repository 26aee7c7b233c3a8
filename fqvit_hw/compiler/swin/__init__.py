"""A plausible instruction list of a Swin Transformer, for the cycle model only.

The compiler refuses Swin and the RTL cannot run it. This schedule says what a machine of the same
units would do with its time: the same GEMMs over the same tiles, LayerNorms and softmaxes over the
same rows, waits row by row found by the compiler's own `Emitter`, and the traffic of whatever does
not fit on chip. A stage is carried out block by block, a block by groups of windows, for attention
never leaves its window: norm1, head by head k, v, q, then scores and context window by window,
proj, norm2, the MLP in blocks of tokens. The stream stays on chip if a whole stage of it fits, else
each group loads its own and stores it again.

Left out, and why:
- the relative position bias and the mask: part of the epilogue of the scores, no array beats;
- address generation beyond base and stride: windows, shifts and 2 x 2 patches count as plain rows
  (their dependencies are those of the true tokens), a window's keys begin with a tile of their own;
- the LayerNorm after the patch embedding writes activations, which become the stream by way of
  memory; the mean over all tokens before the head has no unit (49 rows, once).
"""

from __future__ import annotations

from ...machine.hardware import Hardware
from ...paper_models import SwinSize
from .block import block
from .ends import head, merge, patches
from .schedule import SwinSchedule

__all__ = ["SwinSchedule", "schedule_swin"]


def schedule_swin(size: SwinSize, hw: Hardware) -> SwinSchedule:
    """All instructions of an inference, up to END. Raises ValueError for what does not fit."""
    schedule = SwinSchedule(size, hw)
    patches(schedule)
    for i, depth in enumerate(size.depths):
        if i:
            merge(schedule, i)
        for j in range(depth):
            block(schedule, i, j)
    head(schedule)
    schedule.emitter.end()
    return schedule
