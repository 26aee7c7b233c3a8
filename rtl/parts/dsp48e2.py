"""A DSP48E2 of AMD's UltraScale and UltraScale+ by its name, for a synthesis that uses none of its
registers, pre-adder and adder by itself (Yosys): (D + A) * B + constant.

The names are those of AMD's UG579. With AREG = 1 the register of A is the second one (CEA2), with
BREG = 2 that of B are both. INMODE 00100 lets the pre-adder make D + A; OPMODE 10_000_01_01 adds
RND (W) and the product (X and Y). `rtl/flow/models/DSP48E2.v` is what it does, for simulation.
"""

from __future__ import annotations

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, Value, signed

from .packed import extend

A, B, C, D, P = 30, 18, 48, 27, 48  # bits of the ports
ATTRIBUTES = {
    "AMULTSEL": "AD", "A_INPUT": "DIRECT", "BMULTSEL": "B", "B_INPUT": "DIRECT", "PREADDINSEL": "A",
    "USE_MULT": "MULTIPLY", "USE_SIMD": "ONE48",
    "AREG": 1, "ACASCREG": 1, "DREG": 1, "ADREG": 1, "BREG": 2, "BCASCREG": 2, "MREG": 1, "PREG": 1,
    "CREG": 0, "ALUMODEREG": 0, "CARRYINREG": 0, "CARRYINSELREG": 0, "INMODEREG": 0, "OPMODEREG": 0,
}  # fmt: skip
USED = ("A2", "D", "AD", "B1", "B2", "M", "P")  # registers, all with one enable
UNUSED = ("A1", "C", "ALUMODE", "CARRYIN", "CTRL", "INMODE")
RESETS = ("A", "B", "C", "D", "M", "P", "ALLCARRYIN", "ALUMODE", "CTRL", "INMODE")
ZEROS = {
    "C": C, "ACIN": A, "BCIN": B, "PCIN": P, "ALUMODE": 4, "CARRYINSEL": 3, "CARRYIN": 1,
    "CARRYCASCIN": 1, "MULTSIGNIN": 1,
}  # fmt: skip


def multiply_sum(m: Module, enable: Value, a: Value, d: Value, b: Value, offset: int) -> Value:
    """(d + a) * b + offset, 48 bits signed, 4 cycles with `enable` later.

    a, d, b: signed, as wide as the ports at most.
    """
    inputs = {
        "CLK": ClockSignal(), "A": extend(a, A), "D": extend(d, D), "B": extend(b, B),
        "INMODE": Const(0b00100, 5), "OPMODE": Const(0b10_000_01_01, 9),
    } | {name: Const(0, width) for name, width in ZEROS.items()}  # fmt: skip
    inputs |= {f"CE{name}": enable for name in USED} | {f"CE{name}": Const(0) for name in UNUSED}
    inputs |= {f"RST{name}": Const(0) for name in RESETS}
    p = Signal(signed(P))
    m.submodules.dsp = Instance(
        "DSP48E2",
        **{f"p_{name}": value for name, value in ATTRIBUTES.items()},
        p_RND=Const(offset, P),
        **{f"i_{name}": value for name, value in inputs.items()},
        o_P=p,
    )
    return p
