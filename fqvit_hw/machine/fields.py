"""Words made of fields: the one way to say where in a word each of its parts lies.

Instructions (`isa`), what lies in memory (`layouts`) and registers (`registers`) are tables of this
kind. Packing, the interpreter, the RTL, the harness and the documents take positions and widths
from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ..formats import IntFormat

UNUSED = "unused"  # the name of bits that are written 0 and never looked at


@dataclass(frozen=True)
class Field:
    """`width` bits of a word; signed: in two's complement. doc: what it is, for the documents."""

    name: str
    width: int
    doc: str
    signed: bool = False

    @cached_property
    def format(self) -> IntFormat:
        return IntFormat(self.width, self.signed)

    @property
    def dtype(self) -> np.dtype:
        """Of an array of them in memory, for a field of 8, 16 or 32 bits."""
        return self.format.dtype.newbyteorder("<")


class Layout:
    """A word of fields, packed from bit 0 upwards in their order; in memory little endian.

    name: for messages and documents. Iterating gives the fields. Raises ValueError for two fields
    of one name.
    """

    def __init__(self, name: str, *fields: Field):
        self.name, self.fields = name, {field.name: field for field in fields}
        if len(self.fields) != len(fields):
            raise ValueError(f"{name}: two fields bear the same name")
        self.offset: dict[str, int] = {}  # of each field's lowest bit
        self.width = 0  # bits in all
        for field in fields:
            self.offset[field.name] = self.width
            self.width += field.width

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields.values())

    @property
    def bytes(self) -> int:
        """Bytes of a word that is a whole number of them."""
        return self.width // 8

    def mask(self, *names: str) -> int:
        """A word with ones in these fields, or in all but the unused bits."""
        chosen = names or [name for name in self.fields if name != UNUSED]
        return sum((1 << self.fields[n].width) - 1 << self.offset[n] for n in chosen)

    def check(self, values: Mapping[str, int]) -> None:
        """Raises ValueError for a name that is no field's, OverflowError for too large a value."""
        for name, value in values.items():
            if name not in self.fields:
                raise ValueError(f"{self.name} has no field {name!r}")
            fmt = self.fields[name].format
            if not fmt.min <= value <= fmt.max:
                raise OverflowError(f"{self.name}.{name}: {value} does not fit {fmt}")

    def word(self, values: Mapping[str, int]) -> int:
        """Values -> the word; fields that are not named are 0. Raises as `check`."""
        self.check(values)
        return sum(
            (int(value) & (1 << self.fields[name].width) - 1) << self.offset[name]
            for name, value in values.items()
        )

    def values(self, word: int) -> dict[str, int]:
        """The word's fields, without the unused bits."""
        values = {}
        for field in self:
            value = word >> self.offset[field.name] & (1 << field.width) - 1
            if field.name != UNUSED:
                values[field.name] = value - (value > field.format.max) * (1 << field.width)
        return values

    def pack(self, **columns: ArrayLike) -> np.ndarray:
        """Arrays (n,), or numbers for all of them -> uint8 (n, bytes): n words of <= 64 bits.

        Fields that are not named are 0. Raises as `check`.
        """
        words = np.zeros(np.broadcast_shapes(*(np.shape(c) for c in columns.values())), np.uint64)
        for name, given in columns.items():
            column = np.asarray(given).astype(np.int64)
            for value in (column.min(), column.max()) if column.size else ():
                self.check({name: int(value)})
            bits = column.astype(np.uint64) & np.uint64((1 << self.fields[name].width) - 1)
            words |= bits << np.uint64(self.offset[name])
        return np.atleast_1d(words).astype("<u8").view(np.uint8).reshape(-1, 8)[:, : self.bytes]

    def unpack(self, raw: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 (n, bytes) or (n * bytes,) -> arrays (n,) of the fields' formats, by name."""
        raw = raw.reshape(-1, self.bytes)
        words = np.zeros((len(raw), 8), np.uint8)
        words[:, : self.bytes] = raw
        words = words.view("<u8")[:, 0].astype(np.uint64)
        columns = {}
        for field in self:
            # to the top of 64 bits and down again, with the sign if there is one
            at_top = words << np.uint64(64 - field.width - self.offset[field.name])
            wide = at_top.view(np.int64 if field.signed else np.uint64)
            column = wide >> wide.dtype.type(64 - field.width)
            if field.name != UNUSED:
                columns[field.name] = column.astype(field.format.dtype)
        return columns

    def table(self) -> list[str]:
        """The fields as lines of a table in Markdown."""
        lines = ["| bits | field | |", "|---|---|---|"]
        for field in self:
            at = self.offset[field.name]
            name = "" if field.name == UNUSED else f"`{field.name}` {field.format}"
            lines.append(f"| {at + field.width - 1}:{at} | {name} | {field.doc} |")
        return lines
