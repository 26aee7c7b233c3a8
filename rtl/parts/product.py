"""Products wider than a multiplier: two partial products in registers, and their sum.

An 18 x 18 multiplier holds its product in a register of its own where that register is plain: no
reset, one enable (`rtl.flow.absorb`). The addition that joins two of them gets a stage to itself.
A multiplier of 27 x 18 bits takes 27 at a time, and leaves so few of an int32 that adders do them.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed

from .adder_tree import balanced_sum

LIMB = 17  # bits of the lower operand: unsigned, so that 18 signed bits hold it
WIDE_LIMB = 26  # ... 27
REST = 6  # bits of an int32 above WIDE_LIMB


class Product:
    """value * factor, `latency` = 2 registers later: `result`, of the full width.

    value: signed; factor: at most 18 bits signed or 17 unsigned. Both registers move in the cycles
    with `advance`. A value of at most 18 bits needs one multiplier, and the second register only
    keeps the time; with `wide` one of at most 27 bits, and above one up to REST more.
    """

    latency = 2

    def __init__(
        self, m: Module, advance: Value, value: Value, factor: Value, name: str, wide=False
    ):
        width = len(value) + len(factor)
        self.result = Signal(signed(width), name=name, reset_less=True)
        bits = WIDE_LIMB if wide else LIMB
        limbs = [value] if len(value) <= bits + 1 else [value[:bits], value[bits:].as_signed()]
        total = 0
        for n, limb in enumerate(limbs):
            product = added_up(limb, factor) if wide and len(limb) <= REST else limb * factor
            partial = Signal(product.shape(), name=f"{name}_limb{n}", reset_less=True)
            with m.If(advance):
                m.d.sync += partial.eq(product)
            total += partial << bits * n
        with m.If(advance):
            m.d.sync += self.result.eq(total)


def added_up(value: Value, factor: Value) -> Value:
    """value * factor without a multiplier, for a signed value of few bits."""
    rows = [Mux(bit, factor, 0) << n for n, bit in enumerate(value)]
    return balanced_sum([*rows[:-1], -rows[-1]])
