"""Where a ViT's tensors lie: on chip, and in the memory map if the plan spills them."""

from __future__ import annotations

from ...machine.hardware import Hardware
from ..emitter import SCRATCH, SCRATCH_BYTES
from ..memory_map import MemoryMap
from ..patterns import Lines, Place, Rows, TokenTiles
from ..tiling import ceil, scratch_words, whole_beats
from .plan import Plan
from .shape import RowWords, Shape

IMAGE, LOGITS = "image", "logits"
LOGIT_BYTES = 4


class Placement:
    """acts: normed | q and context, or context and hidden, or context and patches.

    memory_map: with image, logits and what is spilled; spill: first byte and size of the latter.
    """

    def __init__(self, shape: Shape, hw: Hardware, plan: Plan):
        self.hw, self.plan = hw, plan
        self.words = w = RowWords.of(shape, hw)
        N = shape.tokens
        self.second = second = plan.normed_words  # where the second part of acts begins
        self.normed = rows(Place.ACTS, 0, w.normed)
        if plan.context_resident:
            self.context = rows(Place.ACTS, second, w.context)
        else:  # of one head
            border = second if plan.normed_resident else plan.attention * w.normed
            self.context = rows(Place.ACTS, border, w.head)
        held = N if plan.context_resident else plan.queries  # rows of context
        self.q = rows(Place.ACTS, self.context.base + held * self.context.stride, w.head)
        waiting = plan.context_resident and plan.outer < N
        self.hidden = rows(Place.ACTS, second + (N * w.context if waiting else 0), w.hidden)
        self.patches = rows(Place.ACTS, second, w.patch)
        self.fetched_context = rows(Place.ACTS, second, w.context)
        self.final = rows(Place.ACTS, hw.acts - scratch_words(hw) - w.normed, w.normed)
        self.stream = Rows(Place.STREAM, 0, w.stream, w.stream_tiles)
        self.codes = rows(Place.CODES, 0, w.codes)
        self.keys = TokenTiles(hw.ring, w.key_stride, hw.cols)
        self.values = TokenTiles(hw.ring + w.key_tiles, w.value_stride, hw.rows)
        self.memory_map = memory_map = MemoryMap()
        C, height, width = shape.image_shape
        memory_map.region(IMAGE, "image", C * height * width)
        logits = whole_beats(ceil(2 * shape.classes, hw.cols), hw.stream_bytes, hw)
        memory_map.region(LOGITS, "logits", logits * hw.stream_bytes)
        memory_map.region(SCRATCH, "spill", SCRATCH_BYTES)
        start = memory_map.size
        for name, kept, words, place in (
            ("stream", plan.stream_resident, w.stream, Place.STREAM),
            ("normed", plan.normed_resident, w.normed, Place.ACTS),
            ("context", plan.context_resident, w.context, Place.ACTS),
        ):
            if not kept:
                memory_map.region(name, "spill", N * words * place.word_bytes(hw))
        self.spill = start, memory_map.size - start

    def lines(self, region: str, first: int, rows: Rows) -> tuple[Rows, Lines]:
        """Rows of a spilled tensor, each with what pads it to whole beats, and where those of the
        tokens from `first` on lie in memory."""
        size = rows.stride * rows.place.word_bytes(self.hw)
        address = self.memory_map.address(region) + first * size
        return rows.part(0, rows.stride), Lines(address, size, size)

    def head_lines(self, head: int, first: int) -> Lines:
        """Where one head's part of the spilled context lies, of the tokens from `first` on."""
        size, row = self.words.head * self.hw.rows, self.words.context * self.hw.rows
        return Lines(self.memory_map.address("context") + first * row + head * size, row, size)


def rows(place: Place, base: int, words: int) -> Rows:
    """Rows without gaps."""
    return Rows(place, base, words, words)
