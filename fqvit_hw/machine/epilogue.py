"""What becomes of the accumulators of a GEMM: requantize, then one of the epilogues."""

from __future__ import annotations

import numpy as np

from ..formats import UNIT_ROW
from ..units import Gelu, Requantize, Residual, Softmax
from ..units.gelu import gelu
from ..units.requantize import requantize
from ..units.residual import residual
from ..units.softmax import row_reciprocal, softmax
from .gemm import TO_ACTS, TO_TILES, GemmView
from .isa import Epilogue, Space, Unit
from .layouts import GELU, GELU_ENTRIES, SOFTMAX, SOFTMAX_ENTRIES
from .memories import MachineError
from .product import attention_codes, key_place, value_place
from .state import State

Params = dict[str, np.ndarray] | None  # fields of layouts.COLUMN, (columns,); None: resident tiles


def epilogue(machine: State, gemm: GemmView, acc: np.ndarray, params: Params) -> None:
    """acc: int64 (rows, columns)"""
    instruction, kind = gemm.instruction, gemm.epilogue
    y = requantized(gemm, acc, params)
    to = machine.rows_of(instruction, "to")
    if kind is Epilogue.GELU:
        y = activated(machine, gemm, y)
    elif kind is Epilogue.RESIDUAL:
        y = added(machine, gemm, to, y, params)
    if kind in TO_ACTS:
        machine.acts.scatter(to, y)
    elif kind in TO_TILES:
        write_tiles(machine, gemm, y)
    elif kind is Epilogue.RESIDUAL:
        machine.stream.scatter(to, y)
    elif kind is Epilogue.LOGITS:
        machine.stream.scatter(to, np.ascontiguousarray(y, "<i4").view("<i2"))  # two halves
    machine.emit(Unit.EPILOGUE, y, instruction.inner * gemm.hw.cols)
    if kind is Epilogue.SCORES:
        attend(machine, gemm, to, y)


def requantized(gemm: GemmView, acc: np.ndarray, params: Params) -> np.ndarray:
    """-> int8, int16 or int32 (rows, columns), as the epilogue needs it."""
    instruction, kind = gemm.instruction, gemm.epilogue
    width = {Epilogue.GELU: 16, Epilogue.LOGITS: 32}.get(kind, 8)
    if kind is Epilogue.RESIDUAL and instruction.wide:
        width = 16
    if instruction.scalar:
        columns, bias = instruction.columns, 0
        M, N = np.full(columns, instruction.multiplier), np.full(columns, instruction.shift)
    elif params is None:
        raise MachineError("GEMM: resident tiles have no parameters of their own")
    else:
        bias = params["bias"].astype(np.int64)
        M, N = params["multiplier"], params["shift"]
    return requantize(acc + bias, Requantize(M, N, instruction.zero, width))


def activated(machine: State, gemm: GemmView, y: np.ndarray) -> np.ndarray:
    """GELU: int16 -> int8 (rows, columns)"""
    instruction = gemm.instruction
    table = machine.table(Space.GELU_TABLE, GELU, GELU_ENTRIES)["code"]
    multiplier, shift = np.array(instruction.x_multiplier), np.array(instruction.add_shift)
    return gelu(y, Gelu(12, table, Requantize(multiplier, shift, instruction.add_zero, width=8)))


def added(
    machine: State, gemm: GemmView, to: np.ndarray, y: np.ndarray, params: Params
) -> np.ndarray:
    """The stream at words `to` plus the branch y (rows, columns), int8 or int16."""
    instruction = gemm.instruction
    if params is None:
        raise MachineError("GEMM: RESIDUAL needs the factors of its columns")
    x = machine.stream.gather(to, instruction.columns)
    add = Residual(
        x_width=8 if instruction.x_zero or params["x_factor"].any() else 16,
        x_zero=instruction.x_zero,
        x_factor=params["x_factor"],
        x_multiplier=instruction.x_multiplier,
        y_width=16 if instruction.wide else 8,
        y_zero=instruction.zero,
        y_multiplier=instruction.y_multiplier,
        shift=instruction.add_shift,
        width=16 if instruction.stream16 else 8,
        zero=instruction.add_zero,
        factor=params["factor"],
    )
    return residual(x, y, add)


def write_tiles(machine: State, gemm: GemmView, y: np.ndarray) -> None:
    """KEYS, VALUES: rows of tokens into the resident tiles."""
    instruction, tiles = gemm.instruction, machine.tiles
    token = instruction.to_jump + np.arange(instruction.rows)[:, None]
    place = key_place if gemm.epilogue is Epilogue.KEYS else value_place
    tile, byte = place(
        gemm.hw, instruction.to_base, instruction.to_stride, token, np.arange(instruction.columns)
    )
    if tiles.check(tile).min() < gemm.hw.ring:
        raise MachineError(f"GEMM: {gemm.epilogue.name} to tile {tile.min()}, in the ring")
    tiles.data[tile, byte] = y
    tiles.valid[tile, byte] = True


def attend(machine: State, gemm: GemmView, to: np.ndarray, scores: np.ndarray) -> None:
    """SCORES: softmax; codes into the code memory, reciprocals for the next GEMM with codes."""
    columns, R = gemm.instruction.columns, gemm.hw.rows
    if columns > gemm.hw.max_tokens:
        raise MachineError(f"GEMM: {columns} scores, at most {gemm.hw.max_tokens}")
    table = machine.table(Space.SOFTMAX_TABLE, SOFTMAX, SOFTMAX_ENTRIES)["entry"]
    mode, row_norm = attention_codes(gemm), bool(gemm.instruction.row_norm)
    if mode.of_maximum:
        table = table & mode.format.max
    codes = softmax(scores, Softmax(table, mode.name, row_norm))
    one, shift = (np.full((len(codes), 1), value) for value in UNIT_ROW)
    machine.reciprocals.append(row_reciprocal(codes, mode) if row_norm else (one, shift))
    filled = np.full((len(codes), -(-columns // R) * R), mode.zero_code, np.uint8)
    filled[:, :columns] = codes
    machine.codes.scatter(to, filled)
    machine.emit(Unit.CODES, codes)
    machine.counters.progress[Unit.CODES] += gemm.instruction.rows
