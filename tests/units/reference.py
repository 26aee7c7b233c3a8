"""Exact arithmetic for the tests of the units: Python integers and rationals, no numpy inside."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import floor

HALF = Fraction(1, 2)


def half_up(x: Fraction) -> int:
    """The nearest integer, ties towards +inf: the definition, not the shift."""
    return floor(x + HALF)


def clamp(x, width: int):
    """x limited to the range of a signed integer of `width` bits."""
    return max(-(1 << (width - 1)), min((1 << (width - 1)) - 1, x))


def dyadic(ratio: Fraction) -> tuple[int, int]:
    """(M, N) with M in [2^15, 2^16) nearest to ratio * 2^N, for 2^-31 <= ratio < 2^14.

    The relative error is at most 2^-16: half a step of a mantissa of at least 2^15.
    """
    N = 0
    while half_up(ratio * 2**N) < 1 << 15:
        N += 1
    M = half_up(ratio * 2**N)
    return (M, N) if M < 1 << 16 else (1 << 15, N - 1)


def log_int_softmax_code(e: int, S: int) -> int:
    """The authors' definition on exact rationals: k = round(S / e), half to even as torch does;

    floor(log2 k), plus one if k >= 1.5 * 2^floor(log2 k); 15 and beyond mean zero.
    """
    if e == 0:
        return 15
    k = round(Fraction(S, e))  # Python's round of a Fraction is half to even too
    floor_log2 = k.bit_length() - 1
    code = floor_log2 + (2 * k >= 3 << floor_log2)
    return min(code, 15)


@cache
def nearest_code(e: int, largest: int, values) -> int:
    """The code of the value nearest to e / largest of 255, on exact rationals; ties go up."""
    wanted = Fraction(255 * e, largest)
    return min(range(len(values)), key=lambda code: (abs(values[code] - wanted), -values[code]))
