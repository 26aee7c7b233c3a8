"""Two digits a cycle, radix 4, of a quotient or a root."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value


def radix_4(
    m: Module, minuend: Value, multiples: Sequence[Value], width: int, name: str
) -> tuple[Value, Value]:
    """How many of the multiples fit: two bits, 0 for none; and what the largest of them leaves.

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
    m.d.comb += rest.eq(Mux(two, Mux(three, left[3], left[2]), Mux(one, left[1], left[0])))
    return Cat(Mux(two, three, one), two), rest
