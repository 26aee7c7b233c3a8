"""The class token's logits."""

from __future__ import annotations

from ...machine.isa import Epilogue
from ..patterns import Lines, Place, Rows
from ..tiling import ceil, whole_beats
from .placement import LOGIT_BYTES, LOGITS
from .schedule import Schedule, epilogue


def head(s: Schedule) -> None:
    """Logits, two int16 each, go through the stream memory to the host's memory: as many column
    tiles at once as it holds."""
    hw, step, word = s.hw, s.steps.head, s.hw.stream_bytes
    weights = s.linear(step, s.shape.classes, s.words.normed)
    for first, end in s.column_blocks(s.shape.classes, hw.stream // 2):
        words = whole_beats(ceil(2 * (end - first), hw.cols), word, hw)
        to = Rows(Place.STREAM, 0, words, words)
        s.emitter.gemm(
            step.name, epilogue(step, (0, 1), (first, end)), Epilogue.LOGITS, 1, s.places.final,
            to, end - first, weights.at(first, hw),
        )  # fmt: skip
        address = s.memory_map.address(LOGITS) + LOGIT_BYTES * first
        s.emitter.store_rows("logits to memory", 1, to, Lines(address, words * word, words * word))
