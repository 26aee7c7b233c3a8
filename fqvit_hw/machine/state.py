"""What a machine holds between two instructions: memories, tables, counters, progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .hardware import Hardware
from .isa import Instruction, Space, Unit
from .layouts import GELU, GELU_ENTRIES, NORM, SOFTMAX, SOFTMAX_ENTRIES, Layout
from .memories import MachineError, Memory

Record = Callable[["Result"], None]


@dataclass(frozen=True)
class Result:
    """What one instruction made in one unit, in the order of rows and columns.

    index: of the instruction; unit: EPILOGUE, CODES or NORM; values: (rows, columns)
    width: columns of a pass, inner * C: the hardware makes the first `width` columns of all rows,
    then the next (`in_order`). CODES and NORM have one pass.
    """

    index: int
    layer: int
    unit: Unit
    values: np.ndarray
    width: int

    @property
    def in_order(self) -> np.ndarray:
        """The values one after another as the unit emits them: for every pass, for every row."""
        starts = range(0, self.values.shape[1], self.width)
        return np.concatenate([self.values[:, s : s + self.width].ravel() for s in starts])


@dataclass
class Counters:
    """What the hardware's counters must agree with, and the progress of every unit."""

    instructions: int = 0
    array: int = 0  # tiles multiplied, a cycle each
    read: int = 0  # bytes: program, weights and loads
    written: int = 0
    weights: int = 0  # bytes of weights and their parameters
    progress: dict[Unit, int] = field(default_factory=lambda: {unit: 0 for unit in Unit})


class State:
    """One run's. hw: its sizes; memory: its memory map, uint8; record: sees every Result."""

    def __init__(self, hw: Hardware, memory: np.ndarray, record: Record | None = None):
        self.hw, self.memory, self.record = hw, memory, record
        self.counters = Counters()
        self.acts = Memory("acts", hw.acts, hw.rows, np.int8)
        self.stream = Memory("stream", hw.stream, hw.cols, np.int16)
        self.codes = Memory("codes", hw.codes, hw.rows, np.uint8)
        self.tiles = Memory("tiles", hw.tiles, hw.tile_bytes, np.int8)
        channels = -(-hw.max_channels // hw.norm_lanes) * hw.norm_lanes
        self.tables = {
            Space.NORM_TABLE: Memory("norm table", channels * NORM.bytes, 1, np.uint8),
            Space.GELU_TABLE: Memory("gelu table", GELU_ENTRIES * GELU.bytes, 1, np.uint8),
            Space.SOFTMAX_TABLE: Memory(
                "softmax table", SOFTMAX_ENTRIES * SOFTMAX.bytes, 1, np.uint8
            ),
        }
        # reciprocals and shifts of the rows of the SCORES before the next PV, (rows, 1) each
        self.reciprocals: list[tuple[np.ndarray, np.ndarray]] = []
        self.index = self.layer = 0  # of the instruction that is carried out

    def emit(self, unit: Unit, values: np.ndarray, width: int | None = None) -> None:
        if self.record:
            self.record(Result(self.index, self.layer, unit, values, width or values.shape[1]))

    def table(self, space: Space, layout: Layout, entries: int) -> dict[str, np.ndarray]:
        """The first entries of a table -> arrays (entries,) of their fields."""
        memory, size = self.tables[space], entries * layout.bytes
        if not memory.valid[:size].all():
            raise MachineError(f"{memory.name}: not loaded")
        return layout.unpack(memory.data[:size, 0])

    def rows_of(self, instruction: Instruction, name: str) -> np.ndarray:
        """The word at which every row of "from" or "to" starts: (rows,)"""
        if not instruction.rows or not instruction.row_group:
            raise MachineError("rows and row_group must be at least 1")
        return instruction.row(name, np.arange(instruction.rows))
