"""Shifts in steps: by an amount, multiples of 8 and then the rest; up to the leading one."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from fqvit_hw.formats import ceil_log2

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


def shifted_up(m: Module, value: Value, digit: int = 1) -> tuple[Value, Value]:
    """`value`, not 0, with its leading digit on top, and how many digits of 0 stood there.

    digit: its bits. Both are there ceil_log2(digits of value) cycles after `value` has come, which
    stays until then.
    """
    zeros: list[Value] = []
    for level in reversed(range(ceil_log2(len(value) // digit))):
        step = digit << level
        none = Signal(name=f"none_of_{step}", reset_less=True)
        next_ = Signal(len(value), name=f"up_{step}", reset_less=True)
        top_clear = value[-step:] == 0
        m.d.sync += [
            none.eq(top_clear),
            next_.eq(Mux(top_clear, Cat(Const(0, step), value), value)),
        ]
        value, zeros = next_, [none, *zeros]
    return value, Cat(*zeros)
