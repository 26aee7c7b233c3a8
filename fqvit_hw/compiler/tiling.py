"""How rows are padded and cut: groups of K tiles, whole beats of the bus, blocks of tokens."""

from __future__ import annotations

from itertools import pairwise

from ..machine.hardware import Hardware
from ..machine.isa import INSTRUCTIONS, Opcode

SCRATCH_WORDS = 4  # of acts, at its end: where a LOAD that only waits may write, a beat at least


def largest(name: str) -> int:
    """The largest number that a field of a GEMM holds."""
    return next((1 << f.width) - 1 for f in INSTRUCTIONS[Opcode.GEMM] if f.name == name)


MAX_GROUP_TILES = largest("k_tiles")
MAX_GROUPS = largest("k_groups")
MAX_OUTER = largest("outer")  # column tiles of a GEMM


def ceil(a: int, b: int) -> int:
    return -(-a // b)


def cut(n: int, size: int) -> list[tuple[int, int]]:
    """0..n cut into as few parts of at most `size` as possible, nearly equal ones."""
    parts = ceil(n, size)
    ends = [n * i // parts for i in range(parts + 1)]
    return list(pairwise(ends))


def k_groups(k_tiles: int, hw: Hardware) -> tuple[int, int]:
    """K tiles -> (groups, tiles of each): equal groups that fill at most half of the ring. They are
    more than MAX_GROUPS if the ring is smaller than `least_ring`: such a network is refused.
    """
    limit = min(max(hw.ring // 2, 1), MAX_GROUP_TILES)
    least = ceil(k_tiles, limit)
    most = max(least, min(2 * least, MAX_GROUPS))
    groups = next((g for g in range(least, most + 1) if k_tiles % g == 0), least)
    return groups, ceil(k_tiles, groups)


def least_ring(k_tiles: int) -> int:
    """Tiles of the ring that a sum over k_tiles needs."""
    return 2 * ceil(k_tiles, MAX_GROUPS)


def whole_beats(words: int, word: int, hw: Hardware) -> int:
    """As many or a few more words of `word` bytes, a row of which fills beats of the bus."""
    beat = max(1, hw.bus_bytes // word)
    return ceil(words, beat) * beat


def whole_groups(words: int, hw: Hardware, spilled: bool = False) -> int:
    """As many or a few more words of acts, of which all groups of K tiles take as many; if they
    may be spilled, whole beats, too."""
    while True:
        padded = whole_beats(words, hw.rows, hw) if spilled else words
        groups, tiles = k_groups(padded, hw)
        padded = groups * tiles
        if padded == words:
            return words
        words = padded


def scratch_words(hw: Hardware) -> int:
    return max(SCRATCH_WORDS, hw.bus_bytes // hw.rows)


def weight_bytes(outputs: int, k_words: int, hw: Hardware) -> int:
    """Bytes in memory of a Linear whose operand rows have k_words words."""
    groups, tiles = k_groups(k_words, hw)
    return ceil(outputs, hw.cols) * hw.column_tile_bytes(groups * tiles)
