"""What the array does with a GEMM: operand rows times columns of tiles, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..attention_codes import MODES, AttentionCodes
from .gemm import GemmView
from .hardware import Hardware
from .memories import MachineError, Memory

EXACT_K = 512  # float32 holds every sum of so many products of two int8


@dataclass(frozen=True)
class Matrix:
    """values, and which of them were ever written (None: all); K is the second axis of an operand,
    the first one of tiles."""

    values: np.ndarray
    valid: np.ndarray | None = None


def operand(gemm: GemmView, memory: Memory, rows: np.ndarray) -> Matrix:
    """(rows, K) of int8 activations, or of attention codes the values that they stand for, int32.
    rows: the word at which each starts."""
    words = memory.check(rows[:, None] + np.arange(gemm.k_tiles))
    values, valid = (part[words].reshape(len(rows), -1) for part in (memory.data, memory.valid))
    if gemm.instruction.codes:
        mode = attention_codes(gemm)
        values = np.array(mode.values, np.int32)[values & mode.format.max]
    return Matrix(values, valid)


def resident_tiles(gemm: GemmView, memory: Memory) -> Matrix:
    """(K, columns) of keys or values."""
    instruction, hw = gemm.instruction, gemm.hw
    j, k = np.arange(gemm.column_tiles)[:, None], np.arange(gemm.k_tiles)
    where = instruction.tile_base + j * instruction.tile_inner + k * instruction.tile_k
    if memory.check(where).min() < hw.ring:
        raise MachineError(f"GEMM: resident tile {where.min()} lies in the ring")
    valid = memory.valid[where]
    return Matrix(
        in_columns(memory.data[where], gemm),
        None if valid.all() else in_columns(valid, gemm),
    )


def in_columns(tiles: np.ndarray, gemm: GemmView) -> np.ndarray:
    """Tiles in the order (column tiles, K tiles), column by column -> a matrix (K * R, columns)."""
    count, K, R, C = gemm.column_tiles, gemm.k_tiles, gemm.hw.rows, gemm.hw.cols
    columns = tiles.reshape(count, K, C, R).transpose(1, 3, 0, 2).reshape(K * R, count * C)
    return columns[:, : gemm.instruction.columns]


def check_written(a: Matrix, b: Matrix) -> None:
    """Raises MachineError where a lane that was never written meets one that is not 0."""
    for x_valid, y, y_valid, what in (
        (a.valid, b.values, b.valid, "an operand"),
        (transposed(b.valid), a.values.T, transposed(a.valid), "a tile"),
    ):
        if x_valid is None or x_valid.all():
            continue
        lanes = np.flatnonzero(~x_valid.all(0))
        other = y[lanes] != 0
        if y_valid is not None:
            other |= ~y_valid[lanes]
        bad = (~x_valid[:, lanes]).any(0) & other.any(1)
        for lane in np.flatnonzero(bad):  # rarely any: exactly which rows and columns
            raise MachineError(f"GEMM: {what} that was never written, lane {lanes[lane]} of K")


def transposed(valid: np.ndarray | None) -> np.ndarray | None:
    return None if valid is None else valid.T


def attention_codes(gemm: GemmView) -> AttentionCodes:
    """The attention mode of a SCORES or of codes times v. Raises MachineError for one that the
    machine does not build."""
    number = gemm.instruction.mode
    name = list(MODES)[number] if number < len(MODES) else None
    if name not in gemm.hw.modes:
        built = ", ".join(gemm.hw.modes)
        raise MachineError(f"GEMM: attention mode {number} ({name}), the machine has {built}")
    return MODES[name]


def product(a: np.ndarray, b: np.ndarray, codes: bool) -> np.ndarray:
    """a (rows, K) @ b (K, columns), exactly: int64."""
    if codes:  # values of up to 15 bits
        return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
    a, b = a.astype(np.float32), np.ascontiguousarray(b, np.float32)
    total = np.zeros((len(a), b.shape[1]), np.int64)
    for k in range(0, a.shape[1], EXACT_K):
        total += (a[:, k : k + EXACT_K] @ b[k : k + EXACT_K]).astype(np.int64)
    return total


def check_fields(gemm: GemmView) -> None:
    """Raises MachineError for what the array cannot do."""
    instruction, hw = gemm.instruction, gemm.hw
    rows, groups = instruction.rows, instruction.k_groups
    if (groups if gemm.resident else instruction.inner) > 1:
        raise MachineError("GEMM: inner needs resident tiles, k_groups weights")
    if groups > 1 and rows > hw.sums:
        raise MachineError(f"GEMM: {rows} rows of partial sums, there is room for {hw.sums}")
    if not gemm.resident and instruction.k_tiles > hw.ring:
        raise MachineError(f"GEMM: {instruction.k_tiles} K tiles in a ring of {hw.ring}")
    if not gemm.resident and instruction.address % hw.bus_bytes:
        raise MachineError("GEMM: weights not at a multiple of the bus")


def key_place(hw: Hardware, base: int, stride: int, token: np.ndarray, channel: np.ndarray):
    """Tile, and byte in it, of a key: channels along a tile's rows, tokens along its columns."""
    tile = base + token // hw.cols * stride + channel // hw.rows
    return tile, token % hw.cols * hw.rows + channel % hw.rows


def value_place(hw: Hardware, base: int, stride: int, token, channel):
    """The same of a value: tokens along the rows, channels along the columns."""
    tile = base + token // hw.rows * stride + channel // hw.cols
    return tile, channel % hw.cols * hw.rows + token % hw.rows
