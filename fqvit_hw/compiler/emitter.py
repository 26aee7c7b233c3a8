"""Instructions one by one: the waits that each needs, its layer's name, what it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import UserError
from ..formats import ceil_log2
from ..machine.gemm import GemmView
from ..machine.hardware import Hardware
from ..machine.isa import LAST_LAYER, Epilogue, Instruction, Opcode, Unit
from ..machine.layouts import GELU, NORM, SOFTMAX
from .hazards import Access, Tracker
from .made import Made
from .memory_map import MemoryMap
from .patterns import Lines, Pattern, Place, ResidentTiles, Rows, Table, TokenTiles, Words
from .waits import Wait, advance, find

ENTRIES = {Place.NORM_TABLE: NORM, Place.GELU_TABLE: GELU, Place.SOFTMAX_TABLE: SOFTMAX}
EPILOGUE_TABLES = {Epilogue.GELU: Place.GELU_TABLE, Epilogue.SCORES: Place.SOFTMAX_TABLE}
SCRATCH, SCRATCH_BYTES = "scratch", 256  # the region that a LOAD reads which only waits


class TableConstant(Protocol):
    """A table in memory; place: the one that it is loaded into."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def place(self) -> Place: ...


@dataclass(frozen=True)
class Weights:
    """Tiles of a GEMM that are streamed from memory: column tiles from `address` on, each of
    `groups` times `k_tiles` tiles behind its parameters."""

    address: int
    k_tiles: int
    groups: int

    def at(self, column: int, hw: Hardware) -> Weights:
        """The same from a column on, the first of a column tile."""
        stride = hw.column_tile_bytes(self.k_tiles * self.groups)
        return Weights(self.address + column // hw.cols * stride, self.k_tiles, self.groups)


class Emitter:
    """Appends instructions in the order of the calls.

    Every method carries on what the units have done so far (`tracker`); an instruction that needs
    more waits than it has fields for gets LOADs before it that do nothing but wait.
    spill: first byte and size of the memory that the program itself writes and reads.
    """

    def __init__(self, hw: Hardware, memory_map: MemoryMap[Any], spill: tuple[int, int] = (0, 0)):
        self.hw, self.memory_map = hw, memory_map
        self.spill_start, self.spill_size = spill
        self.instructions: list[Instruction] = []
        self.names: list[str] = []  # of the instructions' layers
        self.layers: dict[str, int] = {}  # numbers of the names
        self.made: list[dict[Unit, Made]] = []
        self.loaded: dict[Place, str] = {}  # what is in the tables
        sizes = {place: place.words(hw) for place in Place}
        self.tracker = Tracker(sizes | {Place.SPILL: -(-self.spill_size // hw.bus_bytes)})

    # --- one instruction

    def append(
        self, opcode: Opcode, layer: str, made: dict[Unit, Made], waits: Sequence[Wait],
        **fields: Any,
    ) -> Instruction:  # fmt: skip
        """Raises ValueError, naming the layer, for a value that its field does not hold."""
        number = min(self.layers.setdefault(layer, len(self.layers)), LAST_LAYER)
        for n, wait in enumerate(waits):
            fields |= {f"wait{n}_unit": int(wait.unit), f"wait{n}_count": wait.count}
            if n == 0 and opcode in (Opcode.NORM, Opcode.GEMM):
                fields["wait0_step"] = wait.step
        fields = {name: int(value) for name, value in fields.items()}
        try:
            instruction = Instruction(opcode, {"layer": number, **fields})
        except OverflowError as error:
            raise UserError(f"{layer}: {error}: a field of the instruction is too small") from None
        self.instructions.append(instruction)
        self.names.append(layer)
        self.made.append(made)
        return instruction

    def waits(
        self, unit: Unit, accesses: list[Access], rows: int = 1, limit: int = 2,
        known: np.ndarray | None = None,
    ) -> list[Wait]:  # fmt: skip
        """At most `limit` waits of `unit` for the accesses; LOADs before it wait for the rest.

        rows: 1 if the unit waits once, before all rows; known: counts that it knows anyway.
        """
        tracker = self.tracker
        if rows == 1:
            accesses = [access.at_once for access in accesses]
        known = tracker.now(unit) if known is None else known
        found = find(tracker, accesses, rows, known)
        if len(found) <= limit:
            return found
        # The last place is for the LOADs that wait instead, two counts each. They come after all
        # LOADs before them, so that what is itself a count of LOADs needs none of them.
        kept = found[: limit - 1]
        others = [wait for wait in found[limit - 1 :] if wait.unit is not Unit.LOAD]
        for first in range(0, len(others), 2):
            self.only_wait(others[first : first + 2])
        if unit is not Unit.LOAD:  # whose instructions stay in order
            kept.append(Wait(Unit.LOAD, int(tracker.counts[Unit.LOAD])))
        return kept

    def only_wait(self, waits: list[Wait]) -> None:
        """A LOAD of nothing in particular, to the last words of acts."""
        hw = self.hw
        line = max(hw.rows, hw.bus_bytes)
        self.append(
            Opcode.LOAD, "wait", {}, waits, space=Place.ACTS.space,
            address=self.memory_map.region(SCRATCH, "spill", SCRATCH_BYTES),
            base=(hw.acts - line // hw.rows) * hw.rows, count2=1, count1=1, count0=1, pieces=1,
            piece=line, chunk=ceil_log2(min(hw.rows, hw.bus_bytes)), credit=1,
        )  # fmt: skip
        advance(self.tracker, Unit.LOAD, 1, waits)

    def touch(self, unit: Unit, accesses: list[Access]) -> None:
        for access in accesses:
            self.tracker.touch(unit, access)

    def count(self, unit: Unit) -> int:
        return int(self.tracker.counts[unit])

    def end(self) -> None:
        self.append(Opcode.END, "end", {}, [])

    # --- between memory and the chip

    def load(
        self, layer: str, to: Pattern, rows: int, address: int, fields: dict[str, int],
        credit: int = 1, source: Lines | None = None,
    ) -> None:  # fmt: skip
        """rows: of `to`, in the order of the outer steps; each step adds `credit` to the count.

        source: the lines that it reads where they may be spilled ones; fields: of LOAD.
        """
        write = Access.of(to, rows, True)
        spilled = self.spilled(source, rows, False) if source else []
        waits = self.waits(Unit.LOAD, [write, *spilled])
        steps, begun = fields.get("count2", 1), self.count(Unit.LOAD)
        # the count jumps by `credit`: one more than before a step says that the step is over
        step = np.arange(len(write.words)) // -(-len(write.words) // steps)
        write.done = begun + credit * step + 1
        for access in spilled:
            access.done = begun + credit * np.arange(len(access.words)) + 1
        self.append(
            Opcode.LOAD, layer, {}, waits,
            **{"space": to.place.space, "address": address, "count2": 1, "count1": 1, "count0": 1,
               "pieces": 1, "credit": credit, **fields},
        )  # fmt: skip
        advance(self.tracker, Unit.LOAD, credit * steps, waits)
        self.touch(Unit.LOAD, [write, *spilled])

    def load_rows(self, layer: str, rows: int, to: Rows, source: Lines) -> None:
        """A line of memory for each row."""
        word = to.place.word_bytes(self.hw)
        fields = dict(
            base=to.base * word, count2=rows, from2=source.stride, to2=to.stride * word,
            piece=source.size, chunk=ceil_log2(min(word, self.hw.bus_bytes)),
        )  # fmt: skip
        self.load(layer, to, rows, source.address, fields, source=source)

    def load_table(self, constant: TableConstant) -> None:
        """Unless it is there already."""
        place = constant.place
        if self.loaded.get(place) == constant.name:
            return
        self.loaded[place] = constant.name
        fields = dict(piece=constant.size, chunk=ceil_log2(ENTRIES[place].bytes))
        self.load(constant.name, Table(place), 1, self.memory_map.constant(constant), fields)

    def store_rows(self, layer: str, rows: int, source: Rows, to: Lines) -> None:
        """Each row to a line of memory."""
        read, spilled = Access.of(source, rows, False), self.spilled(to, rows, True)
        waits = self.waits(Unit.STORE, [read, *spilled])
        for access in (read, *spilled):
            access.done = self.count(Unit.STORE) + np.arange(rows) + 1
        self.append(
            Opcode.STORE, layer, {}, waits,
            space=source.place.space, base=source.base, stride=source.stride, lines=rows,
            words=source.words, address=to.address, to0=to.stride,
        )  # fmt: skip
        advance(self.tracker, Unit.STORE, rows, waits)
        self.touch(Unit.STORE, [read, *spilled])

    def spilled(self, lines: Lines, rows: int, write: bool) -> list[Access]:
        """The bus words of the spilled memory that lines touch; none if they lie elsewhere."""
        start, bus = self.spill_start, self.hw.bus_bytes
        if not start <= lines.address < start + self.spill_size:
            return []
        first = (lines.starts(rows)[:, None] - start) // bus
        words = first + np.arange(-(-lines.size // bus))
        return [Access.of(Words(Place.SPILL, words), rows, write)]

    # --- row by row

    def norm(
        self, layer: str, made: Made | None, rows: int, channels: int, source: Rows, to: Rows,
        **fields: int,
    ) -> None:  # fmt: skip
        """fields: eps, zero, gamma_shift and zero_out."""
        accesses = [
            Access.of(source, rows, False),
            Access.of(to, rows, True),
            Access.of(Table(Place.NORM_TABLE), rows, False),
        ]
        waits = self.waits(Unit.NORM, accesses, rows)
        done = self.count(Unit.NORM) + np.arange(rows) + 1
        for access in accesses:
            access.done = done[-len(access.words) :]
        self.append(
            Opcode.NORM, layer, {} if made is None else {Unit.NORM: made}, waits,
            rows=rows, row_group=rows, from_base=source.base, from_stride=source.stride,
            to_base=to.base, to_stride=to.stride, channels=channels, **fields,
        )  # fmt: skip
        advance(self.tracker, Unit.NORM, rows, waits, rows)
        self.touch(Unit.NORM, accesses)

    def gemm(
        self, layer: str, made: dict[Unit, Made], epilogue: Epilogue, rows: int, source: Rows,
        to: Rows | TokenTiles, columns: int, tiles: Weights | ResidentTiles, **fields: int,
    ) -> None:  # fmt: skip
        """fields: of the epilogue."""
        hw, tracker = self.hw, self.tracker
        reads = [Access.of(source, rows, False)]
        if isinstance(tiles, ResidentTiles):
            reads.append(Access.of(tiles, rows, False))
            fields |= dict(
                resident=1, k_tiles=tiles.k_tiles, k_groups=1, inner=tiles.inner, outer=1,
                tile_base=tiles.base, tile_inner=tiles.inner_step, tile_k=tiles.k_step,
            )  # fmt: skip
        else:
            fields |= dict(
                address=tiles.address, k_tiles=tiles.k_tiles, k_groups=tiles.groups, inner=1,
                outer=-(-columns // hw.cols),
            )  # fmt: skip
        if fields["k_tiles"] * fields["k_groups"] != source.words:
            raise AssertionError(
                f"{layer}: {fields['k_groups']} x {fields['k_tiles']} K tiles of {source.words}"
            )
        writes = [Access.of(to, rows, True)]
        if epilogue in EPILOGUE_TABLES:
            writes.append(Access.of(Table(EPILOGUE_TABLES[epilogue]), rows, False))

        waits = self.waits(Unit.ARRAY, reads, rows)
        known = self.known_to_epilogue(waits, rows, fields["k_groups"])
        if epilogue is Epilogue.SCORES:  # the codes unit writes them: its own rows stay in order
            known[Unit.CODES] = tracker.counts[Unit.CODES]
        late = self.waits(Unit.EPILOGUE, writes, limit=1, known=known)
        if late:
            fields |= dict(wait2_unit=late[0].unit, wait2_count=late[0].count)
        fields |= dict(to_base=to.base, to_stride=to.stride)
        if isinstance(to, TokenTiles):
            fields["to_jump"] = to.first
        instruction = self.append(
            Opcode.GEMM, layer, made, waits,
            rows=rows, row_group=rows, from_base=source.base, from_stride=source.stride,
            columns=columns, epilogue=epilogue, **fields,
        )  # fmt: skip
        self.carry_out(GemmView(instruction, hw), waits, late, reads, writes)

    def known_to_epilogue(self, waits: list[Wait], rows: int, groups: int) -> np.ndarray:
        """The counts that are reached when the epilogue of the next GEMM takes its first row: its
        own, all that the array knows by then, and the array's first row of the last group."""
        tracker = self.tracker
        known = np.maximum(tracker.now(Unit.ARRAY), tracker.now(Unit.EPILOGUE))
        for wait in waits:
            known = np.maximum(known, tracker.knowledge(wait.unit, wait.count))
        known[Unit.ARRAY] = self.count(Unit.ARRAY) + (groups - 1) * rows + 1
        return known

    def carry_out(
        self, gemm: GemmView, waits: list[Wait], late: list[Wait], reads: list[Access],
        writes: list[Access],
    ) -> None:  # fmt: skip
        """Counts of array, epilogue and codes, and when each is done with what a GEMM touches."""
        tracker, rows, outer = self.tracker, gemm.instruction.rows, gemm.instruction.outer
        row, array = np.arange(rows), self.count(Unit.ARRAY)
        advance(tracker, Unit.ARRAY, rows, waits, rows)
        for _ in range(gemm.passes - 1):
            advance(tracker, Unit.ARRAY, rows, [])
        for access in reads:
            access.done = (array + (gemm.passes - 1) * rows + row + 1)[-len(access.words) :]
        self.touch(Unit.ARRAY, reads)
        unit, begun = Unit.EPILOGUE, self.count(Unit.EPILOGUE)
        for o in range(outer):  # row by row behind the last group of each column tile
            last_group = (o + 1) * gemm.instruction.k_groups - 1
            follow = Wait(Unit.ARRAY, array + last_group * rows + 1, 1)
            advance(tracker, unit, rows, [follow, *(late if o == 0 else [])], rows)
        if gemm.epilogue is Epilogue.SCORES:  # which have one pass
            follow = Wait(unit, begun + 1, 1)
            unit, begun = Unit.CODES, self.count(Unit.CODES)
            advance(tracker, unit, rows, [follow], rows)
        for access in writes:
            if len(access.words) < rows:  # a table
                access.done = np.array([begun + outer * rows])
                continue
            # A residual add is done with a word of the stream, which is a column tile, in that
            # tile's pass; other words are written by several passes.
            word = np.arange(access.words.shape[1])
            own = gemm.epilogue is Epilogue.RESIDUAL and access.write
            last = np.minimum(word, outer - 1) if own else np.full_like(word, outer - 1)
            access.done = begun + last * rows + row[:, None] + 1
        self.touch(unit, writes)
