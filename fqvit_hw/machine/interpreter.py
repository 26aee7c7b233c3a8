"""The accelerator's programs, carried out one instruction after another in numpy.

This is the specification of the instruction set: the hardware's units run side by side, but every
instruction waits for earlier ones only, so that this order is always one of theirs and all legal
orders give the same integers. Arithmetic is that of `fqvit_hw.units`.

Every memory starts empty. Reading a byte that nobody wrote is allowed where it cannot matter (a
weight of 0, an attention code of 15) and raises MachineError where it can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..formats import BITSHIFT_FRACTION, RECIPROCAL_FRACTION, ZERO_CODE
from ..units import Gelu, LayerNorm, Requantize, Residual, Softmax
from ..units.attention import normalize_rows
from ..units.gelu import gelu
from ..units.layernorm import layernorm
from ..units.requantize import requantize
from ..units.residual import residual
from ..units.softmax import row_reciprocal, softmax
from .fields import Layout
from .hardware import Hardware
from .isa import INSTRUCTION_BYTES, Epilogue, Instruction, Opcode, Space, Unit
from .layouts import COLUMN, EXP_ENTRIES, EXPONENTIALS, GELU, GELU_ENTRIES, NORM

EXACT_K = 512  # float32 holds every sum of so many products of two int8
WAITS = {Opcode.LOAD: 2, Opcode.STORE: 2, Opcode.NORM: 2, Opcode.GEMM: 3, Opcode.END: 0}
Record = Callable[["Result"], None]


class MachineError(RuntimeError):
    """The program does what the hardware cannot do, or reads what was never written."""


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


class Memory:
    """Words of lanes with a flag for every lane that was written."""

    def __init__(self, name: str, words: int, lanes: int, dtype):
        self.name = name
        self.data = np.zeros((words, lanes), dtype)
        self.valid = np.zeros((words, lanes), bool)

    def check(self, words) -> np.ndarray:
        words = np.asarray(words)
        if words.size and (words.min() < 0 or words.max() >= len(self.data)):
            raise MachineError(
                f"{self.name}: word {int(words.max())} beyond its {len(self.data)} words"
            )
        return words

    def bytes(self) -> tuple[np.ndarray, np.ndarray]:
        """The same memory byte by byte: (data, valid), both flat views."""
        return self.data.reshape(-1).view(np.uint8), self.valid.reshape(-1)


class Machine:
    """One run's state. hw: its sizes; memory: the window, uint8; record: sees every Result."""

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
            Space.EXP_TABLE: Memory("exp table", EXP_ENTRIES * EXPONENTIALS.bytes, 1, np.uint8),
        }
        self.reciprocals: list[np.ndarray] = []  # of the rows of the SCORES before the next PV

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

    def check_waits(self, p: Instruction) -> None:
        """What an instruction waits for must be finished by the instructions before it."""
        for n in range(WAITS[p.opcode]):
            unit, count = getattr(p, f"wait{n}_unit"), getattr(p, f"wait{n}_count")
            if n == 0 and p.opcode in (Opcode.NORM, Opcode.GEMM) and p.wait0_step:
                count += p.rows - 1
            if unit != Unit.NONE and count > self.counters.progress[Unit(unit)]:
                raise MachineError(
                    f"wait{n}: {Unit(unit).name} reaches "
                    f"{self.counters.progress[Unit(unit)]}, not {count}"
                )

    def read(self, address: int, size: int) -> np.ndarray:
        if not 0 <= address <= address + size <= len(self.memory):
            raise MachineError(f"reads bytes {address}..{address + size - 1} beyond the window")
        self.counters.read += size
        return self.memory[address : address + size]

    def emit(self, unit: Unit, values: np.ndarray, width: int | None = None) -> None:
        if self.record:
            self.record(Result(self.index, self.layer, unit, values, width or values.shape[1]))

    # --- copies

    def load(self, p: Instruction) -> None:
        steps = [np.arange(n) for n in (p.count2, p.count1, p.count0)]
        at = (
            p.address + steps[0][:, None, None] * p.from2 + steps[1][:, None] * p.from1
            + steps[2] * p.from0
        )  # fmt: skip
        to = p.base + steps[0][:, None, None] * p.to2 + steps[1][:, None] * p.to1 + steps[2] * p.to0
        if p.space in self.tables:
            memory = self.tables[Space(p.space)]
            size = 1
        elif p.space in (Space.ACTS, Space.STREAM):
            memory = self.acts if p.space == Space.ACTS else self.stream
            size = memory.data.itemsize
        else:
            raise MachineError(f"no space {p.space}")
        line, chunk = p.pieces * p.piece, 1 << p.chunk
        places = (p.address, p.base, p.from0, p.from1, p.from2, p.to0, p.to1, p.to2, p.piece)
        if any(n % chunk for n in (*places, p.to_piece)):
            raise MachineError(f"LOAD: an address is no multiple of the chunk, {chunk}")
        if chunk > self.hw.bus_bytes:
            raise MachineError(f"LOAD: a chunk of {chunk} bytes is more than the bus")
        inside = (np.arange(p.pieces)[:, None] * p.to_piece + np.arange(p.piece)).ravel()
        to = to.reshape(-1, 1) + inside
        data, valid = memory.bytes()
        if to.size and to.max() >= len(data):
            raise MachineError(f"{memory.name}: byte {to.max()} beyond its {len(data)}")
        at = at.ravel()
        if at.max() + line > len(self.memory):
            raise MachineError(f"LOAD reads byte {at.max() + line - 1} beyond the window")
        self.counters.read += len(at) * line
        data[to] = self.memory[at[:, None] + np.arange(line)] ^ (0x80 if p.flip else 0)
        valid[to // size] = True
        self.counters.progress[Unit.LOAD] += p.count2 * p.credit

    def store(self, p: Instruction) -> None:
        memory = self.acts if p.space == Space.ACTS else self.stream
        words = memory.check(
            p.base + np.arange(p.lines)[:, None] * p.stride + np.arange(p.words)
        )  # (lines, words)
        size = p.words * memory.data.shape[1] * memory.data.itemsize
        if size % self.hw.bus_bytes or p.address % self.hw.bus_bytes or p.to0 % self.hw.bus_bytes:
            raise MachineError(f"STORE: not a multiple of the bus, {self.hw.bus_bytes} bytes")
        at = p.address + np.arange(p.lines)[:, None] * p.to0 + np.arange(size)
        if at.max() >= len(self.memory):
            raise MachineError(f"STORE writes byte {at.max()} beyond the window")
        self.memory[at] = memory.data[words].reshape(p.lines, -1).view(np.uint8)
        self.counters.written += p.lines * size
        self.counters.progress[Unit.STORE] += p.lines

    # --- LayerNorm

    def norm(self, p: Instruction) -> None:
        channels = p.channels
        x = gather(self.stream, rows_of(p, "from"), channels)
        table = self.table(Space.NORM_TABLE, NORM, channels)
        narrow = p.zero != 0 or table["factor"].any()
        layer = LayerNorm(
            **table,
            zero=p.zero,
            width=8 if narrow else 16,
            eps=p.eps,
            gamma_shift=p.gamma_shift,
            zero_out=p.zero_out,
        )
        y = layernorm(x, layer)
        scatter(self.acts, rows_of(p, "to"), y)
        self.emit(Unit.NORM, y)
        self.counters.progress[Unit.NORM] += p.rows

    def table(self, space: Space, layout: Layout, entries: int) -> dict[str, np.ndarray]:
        """The first entries of a table -> arrays (entries,) of their fields."""
        memory, size = self.tables[space], entries * layout.bytes
        if not memory.valid[:size].all():
            raise MachineError(f"{memory.name}: not loaded")
        return layout.unpack(memory.data[:size, 0])

    # --- matrix products

    def gemm(self, p: Instruction) -> None:
        hw, counts = self.hw, self.counters
        R, C = hw.rows, hw.cols
        groups, n_tiles, K = p.k_groups, p.inner * p.outer, p.k_tiles * p.k_groups
        if (groups if p.resident else p.inner) > 1:
            raise MachineError("GEMM: inner needs resident tiles, k_groups weights")
        if groups > 1 and p.rows > hw.sums:
            raise MachineError(f"GEMM: {p.rows} rows of partial sums, there is room for {hw.sums}")
        if not p.resident and p.k_tiles > hw.ring:
            raise MachineError(f"GEMM: {p.k_tiles} K tiles in a ring of {hw.ring}")
        counts.array += p.outer * groups * p.rows * p.inner * p.k_tiles
        counts.progress[Unit.ARRAY] += p.outer * groups * p.rows
        counts.progress[Unit.EPILOGUE] += p.outer * p.rows
        if p.resident:
            params = None
            j, k = np.arange(n_tiles)[:, None], np.arange(K)
            where = self.tiles.check(p.tile_base + j * p.tile_inner + k * p.tile_k)
            if where.min() < hw.ring:
                raise MachineError(f"GEMM: resident tile {where.min()} lies in the ring")
            tiles, tiles_valid = self.tiles.data[where], self.tiles.valid[where]
        else:
            size = hw.column_tile_bytes(K)
            if p.address % hw.bus_bytes:
                raise MachineError("GEMM: weights not at a multiple of the bus")
            raw = self.read(p.address, n_tiles * size).reshape(n_tiles, size)
            counts.weights += n_tiles * size
            columns, tiles = raw[:, : hw.param_bytes], raw[:, hw.param_bytes :].view(np.int8)
            params = {n: v[: p.columns] for n, v in COLUMN.unpack(columns).items()}
            tiles_valid = None
        # (tiles, K, R, C) -> (K * R, tiles * C)
        b = in_columns(tiles, n_tiles, K, R, C)[:, : p.columns]
        memory = self.codes if p.bitshift else self.acts
        words = memory.check(rows_of(p, "from")[:, None] + np.arange(K))
        a, a_valid = (m[words].reshape(p.rows, -1) for m in (memory.data, memory.valid))
        if p.bitshift:
            shift = BITSHIFT_FRACTION - a.astype(np.int32)
            a = np.where(a == ZERO_CODE, 0, 1 << np.maximum(shift, 0))
        b_valid = None
        if tiles_valid is not None and not tiles_valid.all():
            b_valid = in_columns(tiles_valid, n_tiles, K, R, C)[:, : p.columns]
        self.check_written(a, a_valid, b, b_valid)
        acc = product(a, b, p.bitshift)
        if p.bitshift:
            if not self.reciprocals:
                raise MachineError("GEMM: no reciprocals of the rows of codes")
            reciprocal = self.reciprocals.pop(0)
            if len(reciprocal) != p.rows:
                raise MachineError(f"GEMM: {len(reciprocal)} reciprocals for {p.rows} rows")
            if p.row_norm:
                acc = normalize_rows(acc, reciprocal)
        self.epilogue(p, acc, params)

    def check_written(self, a, a_valid, b, b_valid) -> None:
        """Raises where a lane that was never written meets one that is not 0."""
        for x_valid, y, y_valid, what in (
            (a_valid, b, b_valid, "an operand"),
            (None if b_valid is None else b_valid.T, a.T, a_valid.T, "a tile"),
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

    def epilogue(self, p: Instruction, acc, params) -> None:
        kind = Epilogue(p.epilogue)
        columns = p.columns
        width = {Epilogue.GELU: 16, Epilogue.LOGITS: 32}.get(kind, 8)
        if kind is Epilogue.RESIDUAL and p.wide:
            width = 16
        if p.scalar:
            M, N, bias = np.full(columns, p.multiplier), np.full(columns, p.shift), 0
        elif params is None:
            raise MachineError("GEMM: resident tiles have no parameters of their own")
        else:
            bias = params["bias"].astype(np.int64)
            M, N = params["multiplier"], params["shift"]
        y = requantize(acc + bias, Requantize(M, N, p.zero, width))
        to = rows_of(p, "to")
        if kind is Epilogue.CODES8:
            scatter(self.acts, to, y)
        elif kind in (Epilogue.KEYS, Epilogue.VALUES):
            self.write_tiles(p, kind, y)
        elif kind is Epilogue.GELU:
            table = self.table(Space.GELU_TABLE, GELU, GELU_ENTRIES)["code"]
            linear = Requantize(
                np.array(p.x_multiplier), np.array(p.add_shift), p.add_zero, width=8
            )
            y = gelu(y, Gelu(12, table, linear))
            scatter(self.acts, to, y)
        elif kind is Epilogue.RESIDUAL:
            y = self.residual(p, to, y, params)
        elif kind is Epilogue.LOGITS:
            halves = np.ascontiguousarray(y, "<i4").view("<i2")
            scatter(self.stream, to, halves)
        self.emit(Unit.EPILOGUE, y, p.inner * self.hw.cols)
        if kind is Epilogue.SCORES:
            self.softmax(p, to, y)

    def residual(self, p: Instruction, to, y, params) -> np.ndarray:
        if params is None:
            raise MachineError("GEMM: RESIDUAL needs the factors of its columns")
        x = gather(self.stream, to, p.columns)
        x_factor, factor = params["x_factor"], params["factor"]
        add = Residual(
            x_width=8 if p.x_zero or x_factor.any() else 16,
            x_zero=p.x_zero,
            x_factor=x_factor,
            x_multiplier=p.x_multiplier,
            y_width=16 if p.wide else 8,
            y_zero=p.zero,
            y_multiplier=p.y_multiplier,
            shift=p.add_shift,
            width=16 if p.stream16 else 8,
            zero=p.add_zero,
            factor=factor,
        )
        out = residual(x, y, add)
        scatter(self.stream, to, out)
        return out

    def write_tiles(self, p: Instruction, kind: Epilogue, y) -> None:
        R, C = self.hw.rows, self.hw.cols
        t, c = p.to_jump + np.arange(p.rows)[:, None], np.arange(p.columns)
        if kind is Epilogue.KEYS:
            tile, row, column = p.to_base + t // C * p.to_stride + c // R, c % R, t % C
        else:
            tile, row, column = p.to_base + t // R * p.to_stride + c // C, t % R, c % C
        self.tiles.check(tile)
        if tile.min() < self.hw.ring:
            raise MachineError(f"GEMM: {kind.name} to tile {tile.min()}, in the ring")
        self.tiles.data[tile, row * C + column] = y
        self.tiles.valid[tile, row * C + column] = True

    def softmax(self, p: Instruction, to, scores) -> None:
        R = self.hw.rows
        if p.columns > self.hw.max_tokens:
            raise MachineError(f"GEMM: {p.columns} scores, at most {self.hw.max_tokens}")
        table = self.table(Space.EXP_TABLE, EXPONENTIALS, EXP_ENTRIES)["exponential"]
        codes = softmax(scores, Softmax(table, row_norm=bool(p.row_norm)))
        if p.row_norm:
            self.reciprocals.append(row_reciprocal(codes))
        else:
            one = 1 << (RECIPROCAL_FRACTION - BITSHIFT_FRACTION)
            self.reciprocals.append(np.full((len(codes), 1), one))
        filled = np.full((len(codes), -(-p.columns // R) * R), ZERO_CODE, np.uint8)
        filled[:, : p.columns] = codes
        scatter(self.codes, to, filled)
        self.emit(Unit.CODES, codes)
        self.counters.progress[Unit.CODES] += p.rows


def rows_of(p: Instruction, name: str) -> np.ndarray:
    """The word at which every row starts."""
    if not p.rows or not p.row_group:
        raise MachineError("rows and row_group must be at least 1")
    return p.row(name, np.arange(p.rows))


def gather(memory: Memory, at, columns: int) -> np.ndarray:
    """The first `columns` lanes of the rows that start at words `at` -> (rows, columns)."""
    words = memory.check(at[:, None] + np.arange(-(-columns // memory.data.shape[1])))
    if not memory.valid[words].reshape(len(at), -1)[:, :columns].all():
        raise MachineError(f"{memory.name}: reads lanes that were never written")
    return memory.data[words].reshape(len(at), -1)[:, :columns]


def scatter(memory: Memory, to, values) -> None:
    """Write row r of values (rows, columns) to the lanes from word to[r] on."""
    lanes = memory.data.shape[1]
    at = np.asarray(to)[:, None] * lanes + np.arange(values.shape[1])
    memory.check(at // lanes)
    memory.data.reshape(-1)[at] = values
    memory.valid.reshape(-1)[at] = True


def in_columns(tiles, n_tiles: int, K: int, R: int, C: int) -> np.ndarray:
    """Tiles in the order (n_tiles, K) of R x C -> a matrix (K * R, n_tiles * C)."""
    return tiles.reshape(n_tiles, K * R, C).transpose(1, 0, 2).reshape(K * R, n_tiles * C)


def product(a, b, bitshift: bool) -> np.ndarray:
    """a @ b, exactly: int64."""
    a, b = a.astype(np.float32), np.ascontiguousarray(b, np.float32)
    if bitshift:  # 128 * the row sum of powers of two stays below 2^22 (docs/datapath.md)
        return (a @ b).astype(np.int64)
    total = np.zeros((len(a), b.shape[1]), np.int64)
    for k in range(0, a.shape[1], EXACT_K):
        total += (a[:, k : k + EXACT_K] @ b[k : k + EXACT_K]).astype(np.int64)
    return total


def run(program, image: np.ndarray, record: Record | None = None) -> np.ndarray:
    """A compiled Program on one image, uint8 (C, H, W) -> logits int32 (classes,)."""
    machine = Machine(program.hardware, program.memory(image), record)
    machine.run(program.entry)
    at = program.output_address
    return program.unpack(machine.memory[at : at + program.output_bytes])
