"""Wrong designs that the golden vectors must tell from the right one.

A module for each unit: `model`, the unit written again with a keyword for every choice that a
designer can get wrong, and `VARIANTS`, the wrong choices, each with a name that says what is wrong.
`EQUIVALENT` are those that look wrong and change no answer within the contract, with the reason.
`model(case)` returns the outputs of a case, as Python or numpy integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Choices = dict[str, Any]
Function = Callable[[Any], Any]


def wrapped(width: int, signed: bool = True) -> Function:
    """Keeps the lowest bits only, as a register that is too short does."""

    def wrap(x):
        low = np.asarray(x) & ((1 << width) - 1)
        return np.where(low >> (width - 1) != 0, low - (1 << width), low) if signed else low

    return wrap


def clipped(low: int, high: int) -> Function:
    return lambda x: np.clip(x, low, high)


def same(x):
    return x


# Roundings of x / 2^n, for n >= 1. The right one is half up.
def half_up(x, n):
    return (x + (1 << n >> 1)) >> n


def floor(x, n):
    return x >> n


def half_down(x, n):
    return -half_up(-x, n)


def half_away(x, n):
    return np.where(x < 0, half_down(x, n), half_up(x, n))


def half_even(x, n):
    up = half_up(x, n)
    tie = (x & ((1 << n) - 1)) == 1 << n >> 1
    return np.where(tie & (up & 1 == 1), up - 1, up)


def toward_zero(x, n):
    return np.where(x < 0, -(-x >> n), x >> n)


WRONG_ROUNDINGS = {
    "down": floor,
    "half down": half_down,
    "half away from zero": half_away,
    "half to even": half_even,
    "towards zero": toward_zero,
}
