"""The attention modes: what the codes of each stand for, and what bounds their sums.

An attention map is stored as codes of a few bits. A code stands for an integer, its value, which is
what multiplies v; code x value is an ordinary product whatever the mode. Plain integers, for units,
engines, machine and RTL alike; the arithmetic is in docs/datapath.md, sections 7 and 8.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .formats import (
    ACC,
    BITSHIFT_ACC,
    BITSHIFT_FRACTION,
    EXPONENTIAL,
    MAX_ACC,
    UINT8,
    IntFormat,
)

# What a code of N bits stands for, the row's maximum being 255. The codes of 3 to 5 bits keep the
# largest values exact to a bit or two and reach down far enough for rows of many small ones.
BOOKS: dict[int, tuple[int, ...]] = {
    3: (255, 160, 96, 48, 24, 12, 4, 0),
    4: (255, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 2, 1, 0),
    5: (255, 240, 224, 208, 192, 176, 160, 144, 128, 112, 96, 80, 64, 56, 48, 40,
        32, 28, 24, 20, 16, 14, 12, 10, 8, 6, 5, 4, 3, 2, 1, 0),
    8: tuple(range(255, -1, -1)),
}  # fmt: skip


@dataclass(frozen=True)
class AttentionCodes:
    """One attention mode.

    bits: of a code; values: what each code stands for, 2^bits integers, one of them 0
    unit: the value that stands for 1.0, None where values are relative to their row's maximum
    row_sum: format of the sum W of a row's values, None if rows cannot be normalized by it
    accumulator: format of the sum of values times v
    """

    name: str
    bits: int
    values: tuple[int, ...]
    unit: int | None
    row_sum: IntFormat | None
    accumulator: IntFormat

    @property
    def format(self) -> IntFormat:
        return IntFormat(self.bits, False)

    @property
    def zero_code(self) -> int:
        """The code of 0: of masked pairs, and of the tail of a word of codes."""
        return self.values.index(0)

    @property
    def of_maximum(self) -> bool:
        """Whether a code follows from the distance to the row's maximum alone, by a table of codes;
        else the table holds exponentials, and a code refers to their sum."""
        return self.unit is None

    @property
    def value_bits(self) -> int:
        """Of a value, an unsigned operand of the array."""
        return max(self.values).bit_length()


def of_maximum(bits: int) -> AttentionCodes:
    # at most 4096 * 255 < 2^20, and 128 times that below 2^27
    return AttentionCodes(f"max{bits}", bits, BOOKS[bits], None, IntFormat(20, False), MAX_ACC)


POWERS = (*(1 << BITSHIFT_FRACTION - code for code in range(BITSHIFT_FRACTION + 1)), 0)
LIS4 = AttentionCodes("lis4", 4, POWERS, 1 << BITSHIFT_FRACTION, IntFormat(15, False), BITSHIFT_ACC)
UNIFORM8 = AttentionCodes("uniform8", 8, tuple(range(UINT8.max + 1)), UINT8.max, None, ACC)

# The order is that of the `attention` field of an instruction and of the RTL's `mode`.
MODES = {
    codes.name: codes for codes in (of_maximum(4), LIS4, UNIFORM8, *map(of_maximum, (3, 5, 8)))
}


def has_exponentials(modes: Iterable[AttentionCodes]) -> bool:
    """Whether hardware with these modes needs exponentials and their sum."""
    return not all(codes.of_maximum for codes in modes)


def entry_bits(modes: Iterable[AttentionCodes]) -> int:
    """Of an entry of the softmax table: exponentials, or codes alone."""
    modes = tuple(modes)
    return EXPONENTIAL.width if has_exponentials(modes) else max(codes.bits for codes in modes)
