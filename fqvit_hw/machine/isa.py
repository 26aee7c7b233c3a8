"""The instruction set: one table of fields that encodes, decodes, documents and lays out the RTL.

Instructions are 64 bytes, little endian, fields packed from bit 0 upwards in the order below.
The machine has five opcodes, each carried out by its own unit; units run side by side and wait for
each other only where an instruction says so (docs/accelerator.md). `python -m fqvit_hw.machine.isa`
prints docs/isa.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from ..attention_codes import MODES
from .fields import Field, Layout

INSTRUCTION_BYTES = 64
LAYER_BITS = 12
LAST_LAYER = (1 << LAYER_BITS) - 1


class Opcode(IntEnum):
    """0 is no opcode, so that empty memory is an error."""

    END = 1
    LOAD = 2
    STORE = 3
    NORM = 4
    GEMM = 5


class Unit(IntEnum):
    """Whose progress a wait looks at. Each counts what it has finished since the start."""

    NONE = 0
    LOAD = 1  # `credit` for every outer step written
    STORE = 2  # 1 for every line that memory has acknowledged
    NORM = 3  # 1 for every row written
    ARRAY = 4  # 1 for every row read, in every pass of a GEMM
    EPILOGUE = 5  # 1 for every row written (all inner column tiles), in every pass of a GEMM
    CODES = 6  # 1 for every row of attention codes written


class Space(IntEnum):
    """What a LOAD writes."""

    ACTS = 0  # bytes
    STREAM = 1  # bytes: word address * 2 * cols
    NORM_TABLE = 2  # an entry of layouts.NORM for each channel
    GELU_TABLE = 3  # an entry of layouts.GELU for each pre-activation
    SOFTMAX_TABLE = 4  # an entry of layouts.SOFTMAX for each distance


class Epilogue(IntEnum):
    """What becomes of the accumulators of a GEMM."""

    CODES8 = 0  # requantize to int8 -> activations
    KEYS = 1  # requantize to int8 -> key tiles
    VALUES = 2  # requantize to int8 -> value tiles
    GELU = 3  # requantize to int16, table -> activations
    RESIDUAL = 4  # requantize to int8 or int16, residual add to the stream, in place
    SCORES = 5  # requantize to int8 -> softmax -> codes
    LOGITS = 6  # requantize to int32 -> stream memory, two int16 halves each


class Error(IntEnum):
    """Why the machine stopped; read from STATUS."""

    NONE = 0
    OPCODE = 1  # no such opcode
    ADDRESS = 2  # an access outside the memory map, of no beat or not aligned
    READ = 3  # the memory answered a read with an error
    WRITE = 4  # the memory answered a write with an error
    STUCK = 5  # nothing moved for too long: a wait that no unit will satisfy
    SOFTMAX = 6  # a row of scores had no sum


def wait(n: int, doc: str) -> tuple[Field, ...]:
    return (
        Field(f"wait{n}_unit", 3, f"{doc}: the unit waited for, 0 for none"),
        Field(f"wait{n}_count", 32, "until this count of its is reached"),
    )


OPCODE = Field("opcode", 4, "which instruction")
HEAD = (
    OPCODE,
    Field(
        "layer",
        LAYER_BITS,
        "for people, the machine ignores it: which of the layers' names in the order of the "
        f"program; {LAST_LAYER}: this or a later one",
    ),
)
ROW_WAIT = (
    *wait(0, "before row r"),
    Field("wait0_step", 1, "1: wait0_count + r, 0: the same for all rows"),
    *wait(1, "before the first row"),
)


def rows(name: str, what: str, tiles: tuple[str, str, str] | None = None) -> tuple[Field, ...]:
    """tiles: what the three fields are of KEYS and VALUES, which write no rows."""
    docs = (
        f"{what}: word of row 0",
        "words from row to row inside a group of row_group",
        "words from group to group",
    )
    if tiles:
        docs = [f"{doc}; KEYS, VALUES: {tile}" for doc, tile in zip(docs, tiles, strict=True)]
    parts = (("base", 20), ("stride", 16), ("jump", 20))
    return tuple(
        Field(f"{name}_{part}", width, doc) for (part, width), doc in zip(parts, docs, strict=True)
    )


ROWS = (
    Field("rows", 12, "rows of the operand, at least 1"),
    Field("row_group", 12, "rows in a group: row r lies at base + (r // row_group) * jump + "
                           "(r % row_group) * stride"),
)  # fmt: skip

INSTRUCTIONS: dict[Opcode, Layout] = {
    Opcode.END: Layout("END", *HEAD),
    Opcode.LOAD: Layout(
        "LOAD",
        *HEAD,
        *wait(0, "before the first read"),
        *wait(1, "also before the first read"),
        Field("space", 3, "where to (Space)"),
        Field("flip", 1, "1: flip the top bit of every byte, uint8 pixel -> int8 code"),
        Field("address", 32, "first byte in memory, relative to BASE"),
        Field("base", 24, "first byte written, in the space"),
        Field("count2", 12, "outer steps; after each the unit's count grows by `credit`"),
        Field("count1", 12, "middle steps in each"),
        Field("count0", 12, "lines in each: one line is contiguous in memory"),
        Field("from2", 24, "bytes in memory from outer step to outer step"),
        Field("from1", 24, "... from middle step to middle step"),
        Field("from0", 24, "... from line to line"),
        Field("to2", 24, "bytes in the space from outer step to outer step"),
        Field("to1", 24, "... from middle step to middle step"),
        Field("to0", 24, "... from line to line"),
        Field("pieces", 12, "a line is this many pieces"),
        Field("piece", 20, "bytes of a piece, a multiple of the chunk; contiguous in the space"),
        Field("to_piece", 24, "bytes in the space from piece to piece"),
        Field("chunk", 3, "log2 of the bytes written at once; all addresses are multiples of it"),
        Field("credit", 12, "what an outer step adds to the LOAD count"),
    ),
    Opcode.STORE: Layout(
        "STORE",
        *HEAD,
        *wait(0, "before the first line"),
        *wait(1, "also before the first line"),
        Field("space", 3, "where from: ACTS or STREAM (Space)"),
        Field("base", 20, "word of the first line"),
        Field("stride", 16, "words from line to line"),
        Field("lines", 12, "lines, at least 1"),
        Field("words", 16, "words of a line; its bytes are a multiple of the bus"),
        Field("address", 32, "first byte in memory, relative to BASE, a multiple of the bus"),
        Field("to0", 24, "bytes in memory from line to line, a multiple of the bus"),
    ),
    Opcode.NORM: Layout(
        "NORM",
        *HEAD,
        *ROW_WAIT,
        *ROWS,
        *rows("from", "stream"),
        *rows("to", "activations"),
        Field("channels", 12, "channels of a row"),
        Field("eps", 54, "eps' of the layer"),
        Field("zero", 8, "zero point of the stream", signed=True),
        Field("gamma_shift", 4, "g: gamma is in units of 2^-g output steps"),
        Field("zero_out", 8, "zero point of the output", signed=True),
    ),
    Opcode.GEMM: Layout(
        "GEMM",
        *HEAD,
        *ROW_WAIT,
        *wait(2, "before the epilogue takes its first row"),
        *ROWS,
        *rows("from", "activations, or codes with `codes`"),
        Field("codes", 1, "1: operands are attention codes from the code memory"),
        Field("mode", 3, "with `codes`, SCORES: the attention mode: " + ", ".join(
              f"{n} {mode}" for n, mode in enumerate(MODES))),
        Field("resident", 1, "1: tiles are keys or values; 0: weights, streamed from `address`"),
        Field("address", 32, "weights: first byte, relative to BASE, a multiple of the bus"),
        Field("k_tiles", 8, "tiles along K in a group: all groups have as many"),
        Field("k_groups", 6, "groups along K; accumulators wait in between"),
        Field("inner", 10, "column tiles taken for every row in turn"),
        Field("outer", 12, "column tiles (times `inner`) taken in turn, all rows for each"),
        Field("tile_base", 14, "resident: tile of the first column tile and the first K"),
        Field("tile_inner", 14, "resident: tiles from one column tile to the next"),
        Field("tile_k", 14, "resident: tiles along K from one to the next"),
        Field("columns", 16, "columns in all; the epilogue leaves the rest of the last tile out"),
        Field("epilogue", 3, "what becomes of the accumulators (Epilogue)"),
        Field("scalar", 1, "1: `multiplier` and `shift` below, no bias; 0: per column, streamed"),
        Field("multiplier", 16, "M of every column"),
        Field("shift", 6, "N of every column"),
        Field("zero", 8, "zero point of the requantized code", signed=True),
        Field("row_norm", 1, "with `codes` (codes times v): scale the sums of each row by "
                             "its reciprocal; SCORES: make these (0: all are 1.0)"),
        *rows("to", "activations, stream or codes", tiles=(
            "tile of token 0 and channel 0",
            "tiles from the tokens of a tile to those of the next",
            "number of the token of row 0",
        )),
        Field("wide", 1, "RESIDUAL: the branch has 16 bits"),
        Field("x_zero", 8, "RESIDUAL: zero point of the stream read", signed=True),
        Field("x_multiplier", 17, "RESIDUAL: Mx; GELU: M of the linear part"),
        Field("y_multiplier", 17, "RESIDUAL: My"),
        Field("add_shift", 6, "RESIDUAL: N; GELU: N of the linear part"),
        Field("add_zero", 8, "zero point of the stream written; GELU: of the code", signed=True),
        Field("stream16", 1, "RESIDUAL: the stream written has 16 bits"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """One instruction; fields that are not named are 0. Raises for unknown or too large ones."""

    opcode: Opcode
    fields: dict[str, int]

    def __post_init__(self):
        INSTRUCTIONS[self.opcode].check(self.fields)

    def __getattr__(self, name: str) -> int:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self.fields:
            return self.fields[name]
        if name in INSTRUCTIONS[self.opcode].fields:
            return 0
        raise AttributeError(f"{self.opcode.name} has no field {name!r}")

    def row(self, name: str, r):
        """The word at which row r of "from" or "to" starts; r: a number or an array of numbers."""
        base, stride, jump = (
            getattr(self, f"{name}_{part}") for part in ("base", "stride", "jump")
        )
        return base + r // self.row_group * jump + r % self.row_group * stride

    def encode(self) -> bytes:
        word = INSTRUCTIONS[self.opcode].word(self.fields | {"opcode": self.opcode})
        return word.to_bytes(INSTRUCTION_BYTES, "little")

    @classmethod
    def decode(cls, data: bytes) -> Instruction:
        """Raises ValueError for a bad length or opcode."""
        if len(data) != INSTRUCTION_BYTES:
            raise ValueError(f"an instruction has {INSTRUCTION_BYTES} bytes, not {len(data)}")
        word = int.from_bytes(data, "little")
        opcode = Opcode(word & OPCODE.format.max)
        values = INSTRUCTIONS[opcode].values(word)
        del values["opcode"]
        return cls(opcode, values)


def document() -> str:
    """docs/isa.md."""
    lines = [
        "# The instruction set",
        "",
        "Made by `python -m fqvit_hw.machine.isa > docs/isa.md` from the table that encodes, "
        "decodes and "
        "lays out the RTL.",
        "Instructions are 64 bytes, little endian; fields are packed from bit 0 upwards.",
    ]  # fmt: skip
    for enum in (Unit, Space, Epilogue, Error):
        doc = (enum.__doc__ or "").split("\n")[0]
        values = ", ".join(f"{e.value} {e.name}" for e in enum)
        lines += ["", f"**{enum.__name__}**: {doc} {values}."]
    for opcode, layout in INSTRUCTIONS.items():
        lines += ["", f"## {opcode.name} ({opcode.value})", ""]
        lines += layout.table()
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(), end="")
