"""Products wider than a multiplier: two partial products in registers, and their sum.

An 18 x 18 multiplier holds its product in a register of its own where that register is plain: no
reset, one enable (`rtl.flow.absorb`). The addition that joins two of them gets a stage to itself.
"""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, signed

LIMB = 17  # bits of the lower operand: unsigned, so that 18 signed bits hold it


class Product:
    """value * factor, `latency` = 2 registers later: `result`, of the full width.

    value: signed; factor: at most 18 bits signed or 17 unsigned. Both registers move in the cycles
    with `advance`. A value of at most 18 bits needs one multiplier, and the second register only
    keeps the time.
    """

    latency = 2

    def __init__(self, m: Module, advance: Value, value: Value, factor: Value, name: str):
        width = len(value) + len(factor)
        self.result = Signal(signed(width), name=name, reset_less=True)
        limbs = [value] if len(value) <= LIMB + 1 else [value[:LIMB], value[LIMB:].as_signed()]
        total = 0
        for n, limb in enumerate(limbs):
            product = limb * factor
            partial = Signal(product.shape(), name=f"{name}_limb{n}", reset_less=True)
            with m.If(advance):
                m.d.sync += partial.eq(product)
            total += partial << LIMB * n
        with m.If(advance):
            m.d.sync += self.result.eq(total)
