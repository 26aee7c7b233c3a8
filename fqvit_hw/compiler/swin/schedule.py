"""What all phases of a Swin's schedule share: where things lie, tables, weights, rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import UserError
from ...machine.hardware import Hardware
from ...machine.isa import Epilogue, Instruction
from ...machine.layouts import GELU, GELU_ENTRIES, NORM, SOFTMAX, SOFTMAX_ENTRIES
from ...network.steps import swin_steps
from ...network.swin import MERGED
from ...paper_models import SwinSize
from ..emitter import SCRATCH, SCRATCH_BYTES, Emitter, Weights
from ..memory_map import MemoryMap
from ..patterns import Lines, Place, ResidentTiles, Rows
from ..tiling import ceil, k_groups, weight_bytes
from .patterns import plain
from .stage import Stage

PIXEL_BYTES = 4  # that the schedule has room for
TABLE_BYTES = {
    Place.GELU_TABLE: GELU_ENTRIES * GELU.bytes,
    Place.SOFTMAX_TABLE: SOFTMAX_ENTRIES * SOFTMAX.bytes,
}


@dataclass(frozen=True)
class Unfilled:
    """A constant that nobody will make the bytes of."""

    name: str
    size: int


@dataclass(frozen=True)
class UnfilledTable(Unfilled):
    place: Place


class SwinSchedule:
    """A program in the making. Its phases (patches, merge, block, head) append to `emitter`.

    Raises ValueError for what does not fit.
    """

    def __init__(self, size: SwinSize, hw: Hardware):
        self.size, self.hw = size, hw
        widest = MERGED * size.stages[-2][1]
        if widest > hw.max_channels:
            raise UserError(
                f"{hw.name}: patch merging has {widest} channels, {hw.max_channels} fit"
            )
        self.steps = swin_steps(size.depths)
        self.stages = [Stage(hw, side, C, size.head_dim, size.window) for side, C in size.stages]
        self.plans = [stage.plan() for stage in self.stages]
        self.memory_map: MemoryMap[Unfilled] = MemoryMap()
        memory_map = self.memory_map
        memory_map.region(SCRATCH, "spill", SCRATCH_BYTES)
        memory_map.region("logits", "logits", self.logit_words * hw.stream_bytes)
        start = memory_map.size
        largest = max(s.tokens * s.stream for s in self.stages) * hw.stream_bytes
        for name in ("stream", "merged"):
            memory_map.region(name, "spill", largest)
        contexts = max(s.tokens * s.context for s in self.stages) * hw.rows
        memory_map.region("context", "spill", contexts)
        memory_map.region("image", "spill", size.colors * size.image**2 * PIXEL_BYTES)
        self.emitter = Emitter(hw, memory_map, (start, memory_map.size - start))
        self.spill = "stream"  # where the stream is, off chip

    @property
    def instructions(self) -> list[Instruction]:
        return self.emitter.instructions

    @property
    def logit_words(self) -> int:
        return ceil(2 * self.size.classes, self.hw.cols)

    def linear(
        self, name: str, epilogue: Epilogue, rows: int, source: Rows, to, columns: int
    ) -> None:
        """A Linear on rows of `source`."""
        groups, k_tiles = k_groups(source.words, self.hw)
        constant = Unfilled(f"{name} weights", weight_bytes(columns, source.words, self.hw))
        weights = Weights(self.memory_map.constant(constant), k_tiles, groups)
        self.emitter.gemm(name, {}, epilogue, rows, source, to, columns, weights)

    def attend(
        self, name: str, epilogue: Epilogue, source: Rows, to: Rows, columns: int,
        tiles: ResidentTiles, codes: int = 0,
    ) -> None:  # fmt: skip
        """Scores or context rows of one head in one window."""
        self.emitter.gemm(
            name, {}, epilogue, self.size.window**2, source, to, columns, tiles,
            codes=codes, scalar=1, multiplier=1, shift=1, row_norm=1,
        )  # fmt: skip

    def load_norm(self, name: str, channels: int) -> None:
        self.emitter.load_table(UnfilledTable(name, NORM.bytes * channels, Place.NORM_TABLE))

    def load_table(self, name: str, place: Place) -> None:
        self.emitter.load_table(UnfilledTable(name, TABLE_BYTES[place], place))

    def norm(self, name: str, channels: int, rows: int, source: Rows, to: Rows) -> None:
        self.load_norm(name, channels)
        self.emitter.norm(
            name, None, rows, channels, source, to, eps=1, zero=0, gamma_shift=0, zero_out=0
        )

    # --- the stream from or to memory

    def whole(self, stage: Stage) -> Rows:
        """All tokens of a stage's stream, on chip."""
        return plain(Place.STREAM, stage.stream)

    def lines(self, stage: Stage, order: np.ndarray, region: str | None = None) -> Lines:
        """Where rows of the stream lie in memory: row r is token order[r]."""
        width = stage.stream * self.hw.stream_bytes
        return Lines(self.memory_map.address(region or self.spill), width, width, order)

    def load_stream(self, rows: Rows, order: np.ndarray, stage: Stage) -> None:
        self.emitter.load_rows("stream", len(order), rows, self.lines(stage, order))

    def store_stream(
        self, rows: Rows, order: np.ndarray, stage: Stage, region: str | None = None
    ) -> None:
        self.emitter.store_rows("stream", len(order), rows, self.lines(stage, order, region))
