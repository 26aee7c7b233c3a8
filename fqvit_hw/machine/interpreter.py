"""The accelerator's programs, carried out one instruction after another in numpy.

This is the specification of the instruction set: the hardware's units run side by side, but every
instruction waits for earlier ones only, so that this order is always one of theirs and all legal
orders give the same integers. Arithmetic is that of `fqvit_hw.units`.

Every memory starts empty. Reading a byte that nobody wrote is allowed where it cannot matter (a
weight of 0, an attention code of 15) and raises MachineError where it can.
"""

from __future__ import annotations

import numpy as np

from ..units import LayerNorm
from ..units.attention import normalize_rows
from ..units.layernorm import layernorm
from .epilogue import Params, epilogue
from .gemm import GemmView
from .isa import INSTRUCTION_BYTES, Instruction, Opcode, Space, Unit
from .layouts import COLUMN, NORM
from .memories import MachineError
from .product import (
    Matrix,
    check_fields,
    check_written,
    in_columns,
    operand,
    product,
    resident_tiles,
)
from .state import Counters, State

ROW_BY_ROW = (Opcode.NORM, Opcode.GEMM)
WAITS = {Opcode.LOAD: 2, Opcode.STORE: 2, Opcode.NORM: 2, Opcode.GEMM: 3, Opcode.END: 0}
BEYOND = "beyond the memory map"


class Machine(State):
    """Carries out the program that lies in its memory map."""

    # --- the program

    def run(self, program: int) -> Counters:
        """Instructions from byte `program` on, up to END. Raises MachineError, naming the line."""
        index = 0
        while True:
            raw = self.read(program + index * INSTRUCTION_BYTES, INSTRUCTION_BYTES)
            try:
                instruction = Instruction.decode(raw.tobytes())
                self.check_waits(instruction)
                self.index, self.layer = index, instruction.layer
                self.counters.instructions += 1
                if instruction.opcode is Opcode.END:
                    return self.counters
                getattr(self, instruction.opcode.name.lower())(instruction)
            except (MachineError, ValueError, OverflowError) as error:
                raise MachineError(f"instruction {index}: {error}") from error
            index += 1

    def check_waits(self, instruction: Instruction) -> None:
        """What an instruction waits for must be finished by the instructions before it."""
        for n in range(WAITS[instruction.opcode]):
            unit = Unit(getattr(instruction, f"wait{n}_unit"))
            count = getattr(instruction, f"wait{n}_count")
            if n == 0 and instruction.opcode in ROW_BY_ROW and instruction.wait0_step:
                count += instruction.rows - 1
            reached = self.counters.progress[unit]
            if unit is not Unit.NONE and count > reached:
                raise MachineError(f"wait{n}: {unit.name} reaches {reached}, not {count}")

    def read(self, address: int, size: int) -> np.ndarray:
        if not 0 <= address <= address + size <= len(self.memory):
            raise MachineError(f"reads bytes {address}..{address + size - 1} {BEYOND}")
        self.counters.read += size
        return self.memory[address : address + size]

    # --- copies

    def load(self, instruction: Instruction) -> None:
        """Lines of memory to pieces in a space, byte by byte."""
        if instruction.space in self.tables:
            memory, lane = self.tables[Space(instruction.space)], 1
        elif instruction.space in (Space.ACTS, Space.STREAM):
            memory = self.acts if instruction.space == Space.ACTS else self.stream
            lane = memory.data.itemsize
        else:
            raise MachineError(f"no space {instruction.space}")
        self.check_chunk(instruction)
        size = instruction.pieces * instruction.piece
        pieces = np.arange(instruction.pieces)[:, None] * instruction.to_piece
        to = lines(instruction, "to", instruction.base)[:, None]
        to = to + (pieces + np.arange(instruction.piece)).ravel()  # (lines, size)
        data, valid = memory.bytes()
        if to.size and to.max() >= len(data):
            raise MachineError(f"{memory.name}: byte {to.max()} beyond its {len(data)}")
        at = lines(instruction, "from", instruction.address)
        if at.max() + size > len(self.memory):
            raise MachineError(f"LOAD reads byte {at.max() + size - 1} {BEYOND}")
        self.counters.read += len(at) * size
        flip = 0x80 if instruction.flip else 0
        data[to] = self.memory[at[:, None] + np.arange(size)] ^ flip
        valid[to // lane] = True
        self.counters.progress[Unit.LOAD] += instruction.count2 * instruction.credit

    def check_chunk(self, instruction: Instruction) -> None:
        """A chunk is written in one cycle: it lies in one word and in one beat."""
        chunk = 1 << instruction.chunk
        names = ("address", "base", "piece", "to_piece", *(f"from{n}" for n in range(3)),
                 *(f"to{n}" for n in range(3)))  # fmt: skip
        if any(getattr(instruction, name) % chunk for name in names):
            raise MachineError(f"LOAD: an address is no multiple of the chunk, {chunk}")
        if chunk > self.hw.bus_bytes:
            raise MachineError(f"LOAD: a chunk of {chunk} bytes is more than the bus")

    def store(self, instruction: Instruction) -> None:
        """Lines of words to memory."""
        memory = self.acts if instruction.space == Space.ACTS else self.stream
        line, bus = np.arange(instruction.lines)[:, None], self.hw.bus_bytes
        words = instruction.base + line * instruction.stride + np.arange(instruction.words)
        memory.check(words)  # (lines, words)
        size = instruction.words * memory.word_bytes
        if any(n % bus for n in (size, instruction.address, instruction.to0)):
            raise MachineError(f"STORE: not a multiple of the bus, {bus} bytes")
        at = instruction.address + line * instruction.to0 + np.arange(size)
        if at.max() >= len(self.memory):
            raise MachineError(f"STORE writes byte {at.max()} {BEYOND}")
        self.memory[at] = memory.data[words].reshape(instruction.lines, -1).view(np.uint8)
        self.counters.written += instruction.lines * size
        self.counters.progress[Unit.STORE] += instruction.lines

    # --- rows

    def norm(self, instruction: Instruction) -> None:
        """LayerNorm of rows of the stream into activations."""
        channels = instruction.channels
        x = self.stream.gather(self.rows_of(instruction, "from"), channels)
        table = self.table(Space.NORM_TABLE, NORM, channels)
        narrow = instruction.zero != 0 or table["factor"].any()
        layer = LayerNorm(
            **table,
            zero=instruction.zero,
            width=8 if narrow else 16,
            eps=instruction.eps,
            gamma_shift=instruction.gamma_shift,
            zero_out=instruction.zero_out,
        )
        y = layernorm(x, layer)
        self.acts.scatter(self.rows_of(instruction, "to"), y)
        self.emit(Unit.NORM, y)
        self.counters.progress[Unit.NORM] += instruction.rows

    def gemm(self, instruction: Instruction) -> None:
        """A matrix product and its epilogue. The operand is rows of acts, or of codes with
        `codes`; the tiles are weights from memory, or keys or values that are on chip."""
        gemm = GemmView(instruction, self.hw)
        check_fields(gemm)
        self.counters.array += gemm.beats
        self.counters.progress[Unit.ARRAY] += gemm.rows_read
        self.counters.progress[Unit.EPILOGUE] += gemm.rows_written
        b, params = self.weights(gemm)
        memory = self.codes if instruction.codes else self.acts
        a = operand(gemm, memory, self.rows_of(instruction, "from"))
        check_written(a, b)
        acc = product(a.values, b.values, bool(instruction.codes))
        if instruction.codes:
            acc = self.normalized(instruction, acc)
        epilogue(self, gemm, acc, params)

    def weights(self, gemm: GemmView) -> tuple[Matrix, Params]:
        """Tiles as a matrix (K, columns), and the columns' parameters if they are streamed."""
        if gemm.resident:
            return resident_tiles(gemm, self.tiles), None
        params, columns = self.hw.param_bytes, gemm.instruction.columns
        raw = self.read(gemm.instruction.address, gemm.weight_bytes)
        raw = raw.reshape(gemm.column_tiles, gemm.tile_stride)
        self.counters.weights += gemm.weight_bytes
        fields = COLUMN.unpack(raw[:, :params])
        tiles = Matrix(in_columns(raw[:, params:].view(np.int8), gemm))
        return tiles, {name: values[:columns] for name, values in fields.items()}

    def normalized(self, instruction: Instruction, acc: np.ndarray) -> np.ndarray:
        """Sums over values, (rows, columns), scaled by the reciprocals of their rows of codes."""
        if not self.reciprocals:
            raise MachineError("GEMM: no reciprocals of the rows of codes")
        reciprocal, shift = self.reciprocals.pop(0)
        if len(reciprocal) != instruction.rows:
            raise MachineError(f"GEMM: {len(reciprocal)} reciprocals for {instruction.rows} rows")
        return normalize_rows(acc, reciprocal, shift) if instruction.row_norm else acc


def lines(instruction: Instruction, name: str, start: int) -> np.ndarray:
    """First byte of every line of a LOAD, "from" memory or "to" a space: (lines,)"""
    outer, middle, inner = (
        np.arange(getattr(instruction, f"count{n}")) * getattr(instruction, f"{name}{n}")
        for n in (2, 1, 0)
    )
    return (start + outer[:, None, None] + middle[:, None] + inner).ravel()
