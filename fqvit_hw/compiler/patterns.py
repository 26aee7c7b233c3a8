"""Address patterns: which words of which memory each row of an instruction touches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

import numpy as np

from ..machine.hardware import Hardware
from ..machine.isa import Space


class Place(Enum):
    """What instructions read and write. CODES and TILES have no number as a Space: no LOAD and no
    STORE names them. SPILL: memory that the program itself writes, in words of the bus."""

    ACTS = Space.ACTS
    STREAM = Space.STREAM
    NORM_TABLE = Space.NORM_TABLE
    GELU_TABLE = Space.GELU_TABLE
    SOFTMAX_TABLE = Space.SOFTMAX_TABLE
    CODES = "codes"
    TILES = "tiles"
    SPILL = "spill"

    @property
    def space(self) -> Space:
        """As LOAD and STORE call it. Raises ValueError for what they cannot name."""
        return Space(self.value)

    def word_bytes(self, hw: Hardware) -> int:
        """Bytes of a word of ACTS or STREAM."""
        return {Place.ACTS: hw.rows, Place.STREAM: hw.stream_bytes}[self]

    def words(self, hw: Hardware) -> int:
        """How many words an on-chip memory has; a table counts as one."""
        sizes = {
            Place.ACTS: hw.acts,
            Place.STREAM: hw.stream,
            Place.CODES: hw.codes,
            Place.TILES: hw.tiles,
        }
        return sizes.get(self, 1)


class Pattern(Protocol):
    """Words of one memory, row by row."""

    @property
    def place(self) -> Place: ...

    def addresses(self, rows: int) -> np.ndarray:
        """Words of the first rows: int (rows, n), or (1, n) for what all rows touch."""
        ...


@dataclass(frozen=True)
class Rows:
    """Row r lies at word base + r * stride and has `words` words. place: ACTS, STREAM or CODES."""

    place: Place
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
class TokenTiles:
    """Keys or values as the epilogue writes them: token t lies in `stride` tiles, all that its
    channels take, from tile base + t // tokens * stride on.

    tokens: that a tile holds, C of keys, R of values; first: the token of row 0
    """

    base: int
    stride: int
    tokens: int
    first: int = 0

    place = Place.TILES

    def at(self, first: int) -> TokenTiles:
        """The same from token `first` on."""
        return replace(self, first=first)

    def addresses(self, rows: int) -> np.ndarray:
        """(rows, stride)"""
        token = self.first + np.arange(rows)[:, None]
        return self.base + token // self.tokens * self.stride + np.arange(self.stride)


@dataclass(frozen=True)
class ResidentTiles:
    """Keys or values as an operand of the array: column tile j and K tile k lie at
    base + j * inner_step + k * k_step."""

    base: int
    inner: int
    inner_step: int
    k_tiles: int
    k_step: int

    place = Place.TILES

    def addresses(self, rows: int) -> np.ndarray:
        """(1, inner * k_tiles): every row takes all of them."""
        j, k = np.arange(self.inner)[:, None], np.arange(self.k_tiles)
        return (self.base + j * self.inner_step + k * self.k_step).reshape(1, -1)


@dataclass(frozen=True)
class Table:
    """A whole table, as one word."""

    place: Place

    def addresses(self, rows: int) -> np.ndarray:
        return np.zeros((1, 1), np.int64)


@dataclass(frozen=True)
class Words:
    """Any words: (rows, n)."""

    place: Place
    words: np.ndarray

    def addresses(self, rows: int) -> np.ndarray:
        return self.words


@dataclass(frozen=True)
class Lines:
    """Lines in memory, one for each row on chip: row r is the `size` bytes from
    address + order[r] * stride on, or address + r * stride without an order."""

    address: int
    stride: int
    size: int
    order: np.ndarray | None = None

    def starts(self, rows: int) -> np.ndarray:
        """First byte of each line: (rows,)"""
        order = np.arange(rows) if self.order is None else self.order[:rows]
        return self.address + order * self.stride
