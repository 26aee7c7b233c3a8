"""Do the waits of a program suffice? Looked at from its instructions alone.

The units run side by side and a row of one of them may be as early or as late as the waits allow.
`check` gives every row of every unit a vector clock (what all other units have surely done when it
begins: its own order, its waits, and for epilogue and codes the row that they take over) and then
goes through all words that the rows touch: whoever reads a word must know that its writer is done,
whoever writes it that its writer and its readers are. It shares nothing with the code that chose
the waits but the instruction set.
"""

from __future__ import annotations

import numpy as np

from ..machine.hardware import Hardware
from ..machine.isa import Epilogue, Instruction, Opcode, Space, Unit

UNITS = len(Unit)


class RaceError(RuntimeError):
    """Two units touch a word in an order that nothing guarantees."""


class Clocks:
    """For each unit the clocks of its counts so far: row n is what is done before count n + 1."""

    def __init__(self):
        self.rows = {unit: [np.zeros((1, UNITS), np.int64)] for unit in Unit}
        self.jumps = {unit: [np.zeros(1, np.int64)] for unit in Unit}
        self.counts = {unit: 0 for unit in Unit}
        self.joined: dict[Unit, tuple[np.ndarray, np.ndarray]] = {}

    def after(self, unit: Unit, counts: np.ndarray) -> np.ndarray:
        """What is done once `unit` has reached each of `counts` -> (n, UNITS)."""
        if unit not in self.joined or len(self.joined[unit][0]) <= self.counts[unit]:
            rows = [np.concatenate(self.rows[unit])]
            jumps = [np.concatenate(self.jumps[unit])]
            self.rows[unit], self.jumps[unit] = rows, jumps
            self.joined[unit] = rows[0], jumps[0]
        rows, jumps = self.joined[unit]
        if counts.max() > self.counts[unit]:
            raise RaceError(f"waits for {unit.name} {counts.max()}, it reaches {self.counts[unit]}")
        out = rows[counts].copy()
        out[:, unit] = jumps[counts]  # of a count that jumps, all of the jump
        return out

    def add(self, unit: Unit, sources: list[np.ndarray], rows: int, jump: int = 1) -> np.ndarray:
        """Append `rows` steps of `jump` counts each; sources: (rows or 1, UNITS) -> clocks."""
        clock = np.zeros((rows, UNITS), np.int64)
        clock[0] = self.rows[unit][-1][-1]
        for source in sources:
            if len(source) == rows:
                clock = np.maximum(clock, source)
            else:
                clock[0] = np.maximum(clock[0], source[0])
        clock = np.maximum.accumulate(clock)
        ends = self.counts[unit] + (np.arange(rows) + 1) * jump
        clock[:, unit] = ends - jump
        self.rows[unit].append(np.repeat(clock, jump, axis=0))
        self.jumps[unit].append(np.repeat(ends, jump))
        self.counts[unit] = int(ends[-1])
        return clock


class Words:
    """Who last wrote, and who has read since, each word of a memory."""

    def __init__(self, size: int):
        self.writer = np.zeros(size, np.int64)
        self.written = np.zeros(size, np.int64)
        self.read = np.zeros((UNITS, size), np.int64)


class Checker:
    def __init__(self, hw: Hardware, memory_bytes: int):
        self.hw, self.clocks = hw, Clocks()
        self.memories = {
            "acts": Words(hw.acts),
            "stream": Words(hw.stream),
            "codes": Words(hw.codes),
            "tiles": Words(hw.tiles),
            "memory": Words(-(-memory_bytes // hw.bus_bytes) + 1),
            "NORM_TABLE": Words(1),
            "GELU_TABLE": Words(1),
            "SOFTMAX_TABLE": Words(1),
        }
        self.now = ""

    def read(self, unit: Unit, name: str, words, clock, done) -> None:
        """words: (rows, n); clock: (rows, UNITS), of the first time; done: (rows,), of the last."""
        memory = self.memories[name]
        self.ordered(unit, name, words, clock, memory.writer[words], memory.written[words])
        np.maximum.at(memory.read[unit], words, np.broadcast_to(done[:, None], words.shape))

    def write(self, unit: Unit, name: str, words, clock, done) -> None:
        memory = self.memories[name]
        self.ordered(unit, name, words, clock, memory.writer[words], memory.written[words])
        for other in Unit:
            self.ordered(
                unit,
                name,
                words,
                clock,
                np.full(words.shape, int(other)),
                memory.read[other, words],
            )
        memory.read[:, words] = 0
        memory.writer[words] = unit
        memory.written[words] = np.broadcast_to(done[:, None], words.shape)

    def ordered(self, unit, name, words, clock, other, count) -> None:
        known = np.take_along_axis(clock, other, 1)  # (rows, n)
        bad = (known < count) & (other != unit)
        if bad.any():
            row, n = np.argwhere(bad)[0]
            raise RaceError(
                f"{self.now}: {unit.name} row {row}, {name} word {words[row, n]}: "
                f"{Unit(int(other[row, n])).name} {count[row, n]} is not waited for, "
                f"only {known[row, n]}"
            )

    def waits(self, instruction: Instruction, numbers, rows: int) -> list[np.ndarray]:
        found = []
        for n in numbers:
            unit = Unit(getattr(instruction, f"wait{n}_unit"))
            count = getattr(instruction, f"wait{n}_count")
            if unit is not Unit.NONE:
                step = n == 0 and rows > 1 and instruction.wait0_step
                counts = count + (np.arange(rows) if step else np.zeros(1, np.int64))
                found.append(self.clocks.after(unit, counts))
        return found

    # --- instructions

    def load(self, instruction: Instruction) -> None:
        hw = self.hw
        outer, size = np.arange(instruction.count2), instruction.pieces * instruction.piece
        offset = (
            np.arange(instruction.count1)[:, None, None, None] * instruction.to1
            + np.arange(instruction.count0)[:, None, None] * instruction.to0
            + np.arange(instruction.pieces)[:, None] * instruction.to_piece
            + np.arange(0, instruction.piece, 1 << instruction.chunk)
        ).ravel()
        to = instruction.base + outer[:, None] * instruction.to2 + offset
        name = Space(instruction.space).name
        if instruction.space == Space.ACTS:
            name, to = "acts", to // hw.rows
        elif instruction.space == Space.STREAM:
            name, to = "stream", to // hw.stream_bytes
        else:
            to = np.zeros((instruction.count2, 1), np.int64)
        at = (
            np.arange(instruction.count1)[:, None, None] * instruction.from1
            + np.arange(instruction.count0)[:, None] * instruction.from0
            + np.arange(0, size, min(hw.bus_bytes, size))
        ).ravel()
        at = (instruction.address + outer[:, None] * instruction.from2 + at) // hw.bus_bytes
        clock = self.clocks.add(
            Unit.LOAD, self.waits(instruction, (0, 1), 1), instruction.count2, instruction.credit
        )
        done = clock[:, Unit.LOAD] + instruction.credit
        self.read(Unit.LOAD, "memory", at, clock, done)
        self.write(Unit.LOAD, name, to, clock, done)

    def store(self, instruction: Instruction) -> None:
        hw = self.hw
        acts = instruction.space == Space.ACTS
        line = np.arange(instruction.lines)[:, None]
        size = instruction.words * (hw.rows if acts else hw.stream_bytes)
        words = instruction.base + line * instruction.stride + np.arange(instruction.words)
        at = (
            instruction.address + line * instruction.to0 + np.arange(0, size, hw.bus_bytes)
        ) // hw.bus_bytes
        clock = self.clocks.add(Unit.STORE, self.waits(instruction, (0, 1), 1), instruction.lines)
        done = clock[:, Unit.STORE] + 1
        self.read(Unit.STORE, "acts" if acts else "stream", words, clock, done)
        self.write(Unit.STORE, "memory", at, clock, done)

    def norm(self, instruction: Instruction) -> None:
        rows, channels = instruction.rows, np.arange(instruction.channels)
        row = np.arange(rows)[:, None]
        clock = self.clocks.add(Unit.NORM, self.waits(instruction, (0, 1), rows), rows)
        done = clock[:, Unit.NORM] + 1
        self.read(Unit.NORM, "NORM_TABLE", np.zeros((rows, 1), int), clock, done)
        read = instruction.row("from", row) + channels[:: self.hw.cols] // self.hw.cols
        self.read(Unit.NORM, "stream", read, clock, done)
        write = instruction.row("to", row) + channels[:: self.hw.rows] // self.hw.rows
        self.write(Unit.NORM, "acts", write, clock, done)

    def gemm(self, instruction: Instruction) -> None:
        rows, passes = instruction.rows, instruction.outer * instruction.k_groups
        waits = self.waits(instruction, (0, 1), rows)
        array = [self.clocks.add(Unit.ARRAY, waits, rows) for _ in range(passes)]
        done = array[-1][:, Unit.ARRAY] + 1
        k_words = np.arange(instruction.k_tiles * instruction.k_groups)
        words = instruction.row("from", np.arange(rows)[:, None]) + k_words
        self.read(Unit.ARRAY, "codes" if instruction.codes else "acts", words, array[0], done)
        if instruction.resident:
            j = np.arange(instruction.inner * instruction.outer)[:, None]
            k = np.arange(instruction.k_tiles)
            tiles = instruction.tile_base + j * instruction.tile_inner + k * instruction.tile_k
            tiles = tiles.reshape(1, -1)
            self.read(Unit.ARRAY, "tiles", tiles, array[0][:1], done[-1:])
        late = self.waits(instruction, (2,), 1)
        for o in range(instruction.outer):
            taken = self.clocks.after(
                Unit.ARRAY, array[(o + 1) * instruction.k_groups - 1][:, Unit.ARRAY] + 1
            )
            clock = self.clocks.add(Unit.EPILOGUE, [taken, *(late if o == 0 else [])], rows)
            self.epilogue(instruction, o, clock)

    def epilogue(self, instruction: Instruction, o: int, clock) -> None:
        """Pass o. The exponential table and the codes belong to the codes unit."""
        hw, rows, kind = self.hw, instruction.rows, Epilogue(instruction.epilogue)
        done = clock[:, Unit.EPILOGUE] + 1
        table = np.zeros((rows, 1), int)
        width = instruction.inner * hw.cols
        columns = np.arange(o * width, min((o + 1) * width, instruction.columns))
        to = instruction.row("to", np.arange(instruction.rows)[:, None])
        if kind in (Epilogue.KEYS, Epilogue.VALUES):
            t = instruction.to_jump + np.arange(rows)[:, None]
            per, along = (hw.cols, hw.rows) if kind is Epilogue.KEYS else (hw.rows, hw.cols)
            words = (
                instruction.to_base + t // per * instruction.to_stride + np.unique(columns // along)
            )
            self.write(Unit.EPILOGUE, "tiles", words, clock, done)
        elif kind in (Epilogue.CODES8, Epilogue.GELU):
            if kind is Epilogue.GELU:
                self.read(Unit.EPILOGUE, "GELU_TABLE", table, clock, done)
            words = to + np.unique(columns // hw.rows)
            self.write(Unit.EPILOGUE, "acts", words, clock, done)
        elif kind is Epilogue.RESIDUAL:
            words = to + np.unique(columns // hw.cols)
            self.read(Unit.EPILOGUE, "stream", words, clock, done)
            self.write(Unit.EPILOGUE, "stream", words, clock, done)
        elif kind is Epilogue.LOGITS:
            words = to + np.unique(2 * columns // hw.cols)
            self.write(Unit.EPILOGUE, "stream", words, clock, done)
        else:
            taken = self.clocks.after(Unit.EPILOGUE, done)
            clock = self.clocks.add(Unit.CODES, [taken], rows)
            done = clock[:, Unit.CODES] + 1
            self.read(Unit.CODES, "SOFTMAX_TABLE", table, clock, done)
            words = to + np.arange(-(-instruction.columns // hw.rows))
            self.write(Unit.CODES, "codes", words, clock, done)


def check(instructions: list[Instruction], hw: Hardware, memory_bytes: int) -> dict[Unit, int]:
    """Raises RaceError for the first pair that is not ordered; returns the final counts."""
    checker = Checker(hw, memory_bytes)
    for index, instruction in enumerate(instructions):
        checker.now = f"instruction {index}"
        if instruction.opcode is not Opcode.END:
            getattr(checker, instruction.opcode.name.lower())(instruction)
    return checker.clocks.counts
