"""Instructions one by one: what each touches, hence what it waits for, and what people call it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import UserError
from ..formats import ceil_log2
from ..machine.hardware import EXP_BYTES, NORM_BYTES, Hardware
from ..machine.isa import LAST_LAYER, Epilogue, Instruction, Opcode, Space, Unit
from .hazards import Access, Tracker
from .memory_map import Window


@dataclass(frozen=True)
class Rows:
    """Rows in a memory of words: row r lies at word base + r * stride and has `words` words."""

    space: str  # acts, stream or codes
    base: int
    stride: int
    words: int

    def at(self, first: int) -> Rows:
        """The same from row `first` on."""
        return replace(self, base=self.base + first * self.stride)

    def part(self, word: int, words: int) -> Rows:
        """A part of each row."""
        return replace(self, base=self.base + word, words=words)

    def addresses(self, rows: int) -> np.ndarray:
        """(rows, words)"""
        return self.base + np.arange(rows)[:, None] * self.stride + np.arange(self.words)


@dataclass(frozen=True)
class Tiles:
    """Keys or values. stride: tiles along the channels, for each C (keys) or R (values) tokens."""

    base: int
    stride: int


@dataclass(frozen=True)
class Made:
    """What an instruction makes in one unit: tensor[index][rows, columns] of QuantizedModel.trace.

    columns beyond the tensor's are padding and 0 (`padding` of them).
    """

    tensor: str
    index: tuple[int, ...]
    rows: tuple[int, int]
    columns: tuple[int, int]
    padding: int = 0

    def expected(self, trace: dict) -> np.ndarray:
        """(rows, columns) out of a trace."""
        whole = trace[self.tensor][self.index]
        if whole.ndim == 1:
            whole = whole[None]
        part = whole[slice(*self.rows), slice(*self.columns)]
        return np.pad(part, ((0, 0), (0, self.padding)))


@dataclass(frozen=True)
class Wait:
    unit: Unit
    count: int
    step: int = 0


def at_once(accesses: list[Access]) -> list[Access]:
    """The same, of a unit that waits once for all rows."""
    return [replace(a, words=a.words.reshape(1, -1)) for a in accesses]


class Builder:
    """Appends instructions; every method returns nothing and keeps the order of the calls.

    spill: bytes of memory that the program itself writes and reads, tracked like a memory.
    """

    def __init__(self, hw: Hardware, window: Window, spill: tuple[int, int] = (0, 0)):
        self.hw, self.window = hw, window
        self.spill, spill_size = spill
        self.instructions: list[Instruction] = []
        self.names: list[str] = []  # of the instructions' layers
        self.layers: dict[str, int] = {}  # numbers of the names
        self.made: list[dict[Unit, Made]] = []
        self.loaded: dict[Space, str] = {}  # what is in the tables
        self.tracker = Tracker(
            {
                "acts": hw.acts,
                "stream": hw.stream,
                "codes": hw.codes,
                "tiles": hw.tiles,
                "memory": -(-spill_size // hw.bus_bytes),
                **{space.name: 1 for space in Space},
            }
        )

    # --- waits

    def waits(self, unit: Unit, accesses: list[Access], rows: int, limit: int, known=None):
        """The waits, at most `limit`, that let `unit` do the accesses; the first may step by row.

        Every access has as many rows as the instruction, or one: then it is over before the first.
        """
        tracker = self.tracker
        if known is None:
            known = tracker.now(unit)
        needs = np.zeros((len(Unit), rows), np.int64)
        for access in accesses:
            found = tracker.needs(access)
            if found.shape[1] == rows:
                needs = np.maximum(needs, found)
            else:  # all of it before the first row
                needs[:, 0] = np.maximum(needs[:, 0], found.max(1))
        wanted = {Unit(u): n for u, n in enumerate(needs) if n.max() > known[u]}
        found = {u: self.stepped(u, n) for u, n in wanted.items()}
        for u in list(found):  # leave out what another wait implies
            others = [w for v, w in found.items() if v is not u]
            if any(tracker.knowledge(w.unit, w.count)[u] >= wanted[u].max() for w in others):
                del found[u]
        ordered = sorted(found.values(), key=lambda w: -w.step)
        ordered = ordered[:1] + [
            Wait(w.unit, int(wanted[w.unit].max())) for w in ordered[1:]
        ]  # only the first steps
        if len(ordered) > limit:
            keep = ordered[: limit - 1]
            extra = [w for w in ordered[limit - 1 :] if w.unit is not Unit.LOAD]
            if unit is Unit.EPILOGUE or limit == 1:
                extra = [Wait(w.unit, int(wanted[w.unit].max())) for w in extra]
            for first in range(0, len(extra), 2):
                self.barrier(extra[first : first + 2])
            if unit is not Unit.LOAD:
                keep = [*keep, Wait(Unit.LOAD, int(tracker.counts[Unit.LOAD]))]
            return keep
        return ordered

    def stepped(self, unit: Unit, need: np.ndarray) -> Wait:
        """One wait for row r's need[r]: stepped by row where that is still reachable."""
        rows = len(need)
        first = int((need - np.arange(rows))[need > 0].max())
        reachable = first > 0 and first + rows - 1 <= self.tracker.counts[unit]
        if reachable and first < need.max():
            return Wait(unit, first, 1)
        return Wait(unit, int(need.max()))

    def barrier(self, waits: list[Wait]) -> None:
        """A LOAD of nothing in particular, to wait for more than an instruction can."""
        hw = self.hw
        chunk = min(hw.rows, hw.bus_bytes)
        line = max(hw.rows, hw.bus_bytes)
        self.append(
            Opcode.LOAD, "wait", {}, waits,
            space=Space.ACTS, address=self.window.region("scratch", "spill", 256),
            base=(hw.acts - line // hw.rows) * hw.rows, count2=1, count1=1, count0=1, pieces=1,
            piece=line, chunk=ceil_log2(chunk), credit=1,
        )  # fmt: skip
        self.advance(Unit.LOAD, 1, waits)

    def advance(self, unit: Unit, by: int, waits: list[Wait], rows: int = 1) -> None:
        """Count what the unit has done; it knows from now on what its waits imply."""
        start = end = self.tracker.now(unit)
        for wait in waits:
            start = np.maximum(start, self.tracker.knowledge(wait.unit, wait.count))
            last = wait.count + wait.step * (rows - 1)
            end = np.maximum(end, self.tracker.knowledge(wait.unit, last))
        self.tracker.advance(unit, by, start, np.maximum(start, end))

    def append(self, opcode: Opcode, layer: str, made, waits: list[Wait], **fields) -> None:
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

    # --- instructions

    def end(self) -> None:
        self.append(Opcode.END, "end", {}, [])

    def load(self, layer: str, space: Space, words, address: int, credit: int, **fields) -> None:
        """words: (rows, n) written in outer step order, or None for a table; fields: of LOAD."""
        name = {Space.ACTS: "acts", Space.STREAM: "stream"}.get(space, space.name)
        words = np.zeros((1, 1), int) if words is None else np.asarray(words)
        outer = fields.get("count2", 1)
        count = self.tracker.counts[Unit.LOAD]
        step = -(-len(words) // outer)
        accesses = [Access(name, words, True, None)]
        size = self.line_bytes(fields)
        source = self.memory_access(address, size, fields)
        if source is not None:
            accesses.append(source)
        waits = self.waits(Unit.LOAD, at_once(accesses), 1, 2)
        count = self.tracker.counts[Unit.LOAD]  # a barrier may have come in between
        # the count jumps by `credit`: one more than before an outer step says that it is over
        accesses[0].done = count + credit * (np.arange(len(words)) // step) + 1
        if source is not None:
            source.done = np.full(len(source.words), count + credit * outer)
        self.append(
            Opcode.LOAD, layer, {}, waits,
            **{"space": space, "address": address, "count2": 1, "count1": 1, "count0": 1,
               "pieces": 1, "credit": credit, **fields},
        )  # fmt: skip
        self.advance(Unit.LOAD, credit * outer, waits)
        for access in accesses:
            self.tracker.touch(Unit.LOAD, access)

    def line_bytes(self, fields) -> int:
        return fields.get("pieces", 1) * fields["piece"]

    def memory_access(self, address: int, line: int, fields) -> Access | None:
        """The spilled bytes that a LOAD reads."""
        size = self.tracker.sizes["memory"] * self.hw.bus_bytes
        if not self.spill <= address < self.spill + size:
            return None
        starts = (
            address
            + np.arange(fields.get("count2", 1))[:, None] * fields.get("from2", 0)
            + np.arange(fields.get("count0", 1)) * fields.get("from0", 0)
        )
        return Access("memory", self.beats(starts.ravel(), line), False)

    def beats(self, starts, line: int) -> np.ndarray:
        """Starts of lines of `line` bytes -> the bus words of the spill region, (lines, n)."""
        bus = self.hw.bus_bytes
        return (np.asarray(starts)[:, None] - self.spill) // bus + np.arange(-(-line // bus))

    def table(self, space: Space, name: str, size: int, make) -> None:
        """Load a table unless it is there already."""
        if self.loaded.get(space) == name:
            return
        self.loaded[space] = name
        chunk = {
            Space.NORM_TABLE: NORM_BYTES,
            Space.GELU_TABLE: 1,
            Space.EXP_TABLE: EXP_BYTES,
        }[space]
        self.load(
            name, space, None, self.window.constant(name, size, make), 1,
            piece=size, chunk=ceil_log2(chunk),
        )  # fmt: skip

    def load_rows(self, layer: str, rows: int, to: Rows, address: int, stride: int, word: int):
        """Rows of `to.words` words of `word` bytes, `stride` bytes apart in memory, credit 1."""
        space = Space.ACTS if to.space == "acts" else Space.STREAM
        self.load(
            layer, space, to.addresses(rows), address, 1,
            base=to.base * word, count2=rows, from2=stride, to2=to.stride * word,
            piece=to.words * word, chunk=ceil_log2(min(word, self.hw.bus_bytes)),
        )  # fmt: skip

    def store_rows(self, layer: str, rows: int, source: Rows, address: int, stride: int, word: int):
        """The same the other way. word: bytes of a word."""
        count = self.tracker.counts[Unit.STORE]
        done = count + np.arange(rows) + 1
        accesses = [Access(source.space, source.addresses(rows), False, done)]
        starts = address + np.arange(rows) * stride
        if self.tracker.sizes["memory"] and address >= self.spill:
            accesses.append(Access("memory", self.beats(starts, source.words * word), True, done))
        waits = self.waits(Unit.STORE, at_once(accesses), 1, 2)
        self.append(
            Opcode.STORE, layer, {}, waits,
            space=Space.ACTS if source.space == "acts" else Space.STREAM, base=source.base,
            stride=source.stride, lines=rows, words=source.words, address=address, to0=stride,
        )  # fmt: skip
        self.advance(Unit.STORE, rows, waits)
        for access in accesses:
            self.tracker.touch(Unit.STORE, access)

    def norm(self, layer: str, made: Made, p, rows: int, source: Rows, to: Rows) -> None:
        table = np.zeros((1, 1), int)
        accesses = [
            Access(source.space, source.addresses(rows), False),
            Access(to.space, to.addresses(rows), True),
            Access(Space.NORM_TABLE.name, table, False),
        ]
        waits = self.waits(Unit.NORM, accesses, rows, 2)
        done = self.tracker.counts[Unit.NORM] + np.arange(rows) + 1
        for access in accesses:
            access.done = done if len(access.words) == rows else done[-1:]
        self.append(
            Opcode.NORM, layer, {Unit.NORM: made}, waits,
            rows=rows, row_group=rows, from_base=source.base, from_stride=source.stride,
            to_base=to.base, to_stride=to.stride, channels=len(p.factor), eps=p.eps, zero=p.zero,
            gamma_shift=p.gamma_shift, zero_out=p.zero_out,
        )  # fmt: skip
        self.advance(Unit.NORM, rows, waits, rows)
        for access in accesses:
            self.tracker.touch(Unit.NORM, access)

    def gemm(
        self, layer: str, made: dict, epilogue: Epilogue, rows: int, source: Rows, to,
        columns: int, k_tiles: int, groups: int = 1, inner: int = 1, tiles: Tiles | None = None,
        tile_inner: int = 0, tile_k: int = 0, first: int = 0, **fields,
    ):  # fmt: skip
        """to: Rows, or Tiles (keys and values, of the tokens from `first` on); tiles: resident."""
        hw, tracker = self.hw, self.tracker
        if k_tiles * groups != source.words:
            raise AssertionError(f"{layer}: reads {k_tiles} x {groups} words of {source.words}")
        outer = 1 if tiles else -(-columns // hw.cols)
        passes = outer * groups
        reads = [Access(source.space, source.addresses(rows), False)]
        if tiles:
            j, k = np.arange(inner)[:, None], np.arange(k_tiles)
            where = (tiles.base + j * tile_inner + k * tile_k).reshape(1, -1)
            reads.append(Access("tiles", where, False))
            fields |= dict(tile_base=tiles.base, tile_inner=tile_inner, tile_k=tile_k, resident=1)
        writes = self.epilogue_accesses(epilogue, rows, to, columns, first)
        row = np.arange(rows)

        known = tracker.now(Unit.ARRAY)
        waits = self.waits(Unit.ARRAY, reads, rows, 2, known)
        array, done = tracker.counts[Unit.ARRAY], tracker.counts[Unit.EPILOGUE]
        known = np.maximum(tracker.now(Unit.ARRAY), tracker.now(Unit.EPILOGUE))
        for wait in waits:
            known = np.maximum(known, tracker.knowledge(wait.unit, wait.count))
        known[Unit.ARRAY] = array + (groups - 1) * rows + 1
        if epilogue is Epilogue.SCORES:
            known[Unit.CODES] = tracker.counts[Unit.CODES]
        late = self.waits(Unit.EPILOGUE, at_once(writes), 1, 1, known)

        fields |= self.where(to, first)
        if late:
            fields |= dict(wait2_unit=int(late[0].unit), wait2_count=late[0].count)
        self.append(
            Opcode.GEMM, layer, made, waits,
            rows=rows, row_group=rows, from_base=source.base, from_stride=source.stride,
            k_tiles=k_tiles, k_groups=groups, inner=inner, outer=outer, columns=columns,
            epilogue=epilogue, **fields,
        )  # fmt: skip
        # the array's passes, then those of the epilogue, which follow them row by row
        self.advance(Unit.ARRAY, rows, waits, rows)
        for _ in range(passes - 1):
            self.advance(Unit.ARRAY, rows, [])
        for access in reads:
            last = array + (passes - 1) * rows + row + 1
            access.done = last if len(access.words) == rows else last[-1:]
            tracker.touch(Unit.ARRAY, access)
        for o in range(outer):
            follow = Wait(Unit.ARRAY, int(array + ((o + 1) * groups - 1) * rows + 1), 1)
            self.advance(Unit.EPILOGUE, rows, [follow, *(late if o == 0 else [])], rows)
        unit = Unit.EPILOGUE
        if epilogue is Epilogue.SCORES:
            unit, done = Unit.CODES, tracker.counts[Unit.CODES]
            follow = Wait(Unit.EPILOGUE, int(tracker.counts[Unit.EPILOGUE]) - rows + 1, 1)
            self.advance(Unit.CODES, rows, [follow], rows)
        for access in writes:
            if len(access.words) != rows or outer == 1:  # tables; all in one pass
                end = done + outer * rows
                access.done = done + row + 1 if len(access.words) == rows else np.array([end])
            else:
                per = access.words.shape[1] / outer  # words of a row in a pass
                o = np.minimum((np.arange(access.words.shape[1]) // per).astype(int), outer - 1)
                if epilogue not in (Epilogue.RESIDUAL,):
                    o = np.full_like(o, outer - 1)
                access.done = done + o * rows + row[:, None] + 1
            tracker.touch(unit, access)

    def epilogue_accesses(self, epilogue, rows: int, to, columns: int, first: int) -> list[Access]:
        hw = self.hw
        table = np.zeros((1, 1), int)
        if isinstance(to, Tiles):
            tokens = np.arange(first, first + rows)
            per, along = (hw.cols, hw.rows) if epilogue is Epilogue.KEYS else (hw.rows, hw.cols)
            words = to.base + tokens[:, None] // per * to.stride + np.arange(-(-columns // along))
            return [Access("tiles", words, True)]
        accesses = [Access(to.space, to.addresses(rows), True)]
        if epilogue is Epilogue.GELU:
            accesses.append(Access(Space.GELU_TABLE.name, table, False))
        if epilogue is Epilogue.SCORES:
            accesses.append(Access(Space.EXP_TABLE.name, table, False))
        return accesses

    def where(self, to, first: int) -> dict:
        if isinstance(to, Tiles):
            return dict(to_base=to.base, to_stride=to.stride, to_jump=first)
        return dict(to_base=to.base, to_stride=to.stride)
