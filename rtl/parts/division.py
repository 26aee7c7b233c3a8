"""Two digits a cycle, radix 4, of a quotient or a root."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, Value


class Digit(NamedTuple):
    """bits: two of the result; rest: what is left; fits: does the multiple fit, for 1, 2 and 3."""

    bits: Value
    rest: Value
    fits: tuple[Value, Value, Value]

    def choose(self, values: Sequence[Value]) -> Value:
        """values[digit], sooner than by way of `bits`."""
        return chosen(self.fits, values)


def chosen(fits: tuple[Value, Value, Value], values: Sequence[Value]) -> Value:
    one, two, three = fits
    return Mux(two, Mux(three, values[3], values[2]), Mux(one, values[1], values[0]))


def radix_4(m: Module, minuend: Value, multiples: Sequence[Value], width: int, name: str) -> Digit:
    """How many of the multiples fit, 0 for none, and what the largest of them leaves.

    multiples: of the digits 1, 2 and 3, in ascending order. They are subtracted side by side, so
    that a digit takes one subtraction and a multiplexer. What is left fits `width` bits.
    """
    left, fits = [minuend[:width]], []
    for n, multiple in enumerate(multiples, 1):
        difference = Signal(len(minuend) + 1, name=f"{name}_less_{n}")
        m.d.comb += difference.eq(minuend - multiple)
        left.append(difference[:width])
        fits.append(~difference[-1])  # else it is negative
    one, two, three = fits
    rest = Signal(width, name=f"{name}_rest")
    m.d.comb += rest.eq(chosen((one, two, three), left))
    return Digit(Cat(Mux(two, three, one), two), rest, (one, two, three))
