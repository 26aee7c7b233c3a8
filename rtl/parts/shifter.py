"""A shift by any amount as two registers: multiples of 8, then the rest."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value

FINE = 3  # bits of the amount that the second register's multiplexers look at
SHIFT_LATENCY = 2


def shift_right(m: Module, advance: Value, value: Value, amount: Value, name: str) -> Signal:
    """value >> amount, SHIFT_LATENCY registers later, which move in the cycles with `advance`.

    Signed as `value` is, and as wide.
    """
    coarse = Signal(value.shape(), name=f"{name}_coarse", reset_less=True)
    fine = Signal(FINE, name=f"{name}_fine", reset_less=True)
    shifted = Signal(value.shape(), name=name, reset_less=True)
    with m.If(advance):
        m.d.sync += [
            coarse.eq(value >> Cat(Const(0, FINE), amount[FINE:])),
            fine.eq(amount[:FINE]),
            shifted.eq(coarse >> fine),
        ]
    return shifted
