"""Address patterns that no instruction has: tokens in an order of their own, 2 x 2 of them in a
row, keys window by window. They are what a Swin's rows depend on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..patterns import Place, Rows, TokenTiles


def plain(place: Place, words: int, base: int = 0) -> Rows:
    """Rows without gaps."""
    return Rows(place, base, words, words)


@dataclass(frozen=True)
class Tokens(Rows):
    """Rows in an order of their own: row r is number order[r]."""

    order: np.ndarray

    def at(self, first: int) -> Tokens:
        return replace(self, order=self.order[first:])

    def addresses(self, rows: int) -> np.ndarray:
        start = self.base + self.order[:rows, None] * self.stride
        return start + np.arange(self.words)


@dataclass(frozen=True)
class Merged(Rows):
    """A row is the words of four tokens: those of the numbers four[r], (rows, 4)."""

    four: np.ndarray

    def addresses(self, rows: int) -> np.ndarray:
        start = self.base + self.four[:rows, :, None] * self.stride
        return (start + np.arange(self.words)).reshape(rows, -1)


@dataclass(frozen=True)
class WindowTiles(TokenTiles):
    """Keys or values of many windows of `window` tokens, each with `each` tiles of its own."""

    window: int = 1
    each: int = 0

    def addresses(self, rows: int) -> np.ndarray:
        token = self.first + np.arange(rows)[:, None]
        start = self.base + token // self.window * self.each
        return start + token % self.window // self.tokens * self.stride + np.arange(self.stride)


def window_order(side: int, window: int, shift: int) -> np.ndarray:
    """Token numbers (row by row of the image) window by window, after a cyclic shift. side, window:
    of the square image and of a square window, in tokens."""
    grid = np.arange(side * side).reshape(side, side)
    grid = np.roll(grid, (-shift, -shift), (0, 1))
    n = side // window
    return grid.reshape(n, window, n, window).transpose(0, 2, 1, 3).reshape(-1)
