"""A GEMM instruction as everybody sees it who has to count: beats, rows, bytes, where it writes.

docs/accelerator.md, "A GEMM", has the loops behind these numbers. Compiler, interpreter, cycle
model and harness ask here; the RTL and `compiler/races.py` have their own arithmetic, for they are
what is checked with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .hardware import Hardware
from .isa import Epilogue, Instruction, Opcode

# what an epilogue writes; SCORES gives the codes unit its rows
TO_ACTS = frozenset({Epilogue.CODES8, Epilogue.GELU})
TO_STREAM = frozenset({Epilogue.RESIDUAL, Epilogue.LOGITS})
TO_TILES = frozenset({Epilogue.KEYS, Epilogue.VALUES})


@dataclass(frozen=True)
class GemmView:
    """A GEMM on a machine. Rows, columns and K tiles are those of the instruction's fields."""

    instruction: Instruction
    hw: Hardware

    @property
    def resident(self) -> bool:
        """Are its tiles keys or values, or else weights streamed from memory?"""
        return bool(self.instruction.resident)

    @property
    def epilogue(self) -> Epilogue:
        return Epilogue(self.instruction.epilogue)

    @property
    def k_tiles(self) -> int:
        """K tiles of all groups: words of a row of the operand."""
        return self.instruction.k_tiles * self.instruction.k_groups

    @property
    def column_tiles(self) -> int:
        return self.instruction.inner * self.instruction.outer

    @property
    def passes(self) -> int:
        """How often all rows pass the array."""
        return self.instruction.outer * self.instruction.k_groups

    @property
    def rows_read(self) -> int:
        """What it adds to the ARRAY count."""
        return self.passes * self.instruction.rows

    @property
    def rows_written(self) -> int:
        """What it adds to the EPILOGUE count."""
        return self.instruction.outer * self.instruction.rows

    @property
    def beats(self) -> int:
        """Cycles for which the array is busy: a K tile of a row in each."""
        return self.instruction.rows * self.column_tiles * self.k_tiles

    @property
    def weight_tiles(self) -> int:
        """Tiles streamed from memory, 0 where they are resident."""
        return 0 if self.resident else self.instruction.outer * self.k_tiles

    @property
    def tile_stride(self) -> int:
        """Bytes in memory from one column tile of weights to the next."""
        return self.hw.column_tile_bytes(self.k_tiles)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights and their parameters streamed from memory."""
        return 0 if self.resident else self.instruction.outer * self.tile_stride

    def columns(self, tile: int) -> int:
        """Columns that column tile `tile` has."""
        return min(max(self.instruction.columns - tile * self.hw.cols, 1), self.hw.cols)

    def chunks(self, tile: int) -> int:
        """Chunks of `hw.lanes` columns, a cycle each, that the epilogue makes of a row of it."""
        return -(-self.columns(tile) // self.hw.lanes)


def gemms(instructions: list[Instruction], hw: Hardware) -> list[GemmView]:
    """Those of a program, in order."""
    return [GemmView(i, hw) for i in instructions if i.opcode is Opcode.GEMM]
