"""Operands of multipliers moved to the top bits of their ports, in a netlist of Yosys for an ECP5.

Yosys extends two int8 with their signs to the 18 bits of a MULT18X18D: each sign goes to eleven
pins, and the router has to bring it to each of them. Shifted to the top, the bits below are
constant zeros, which an ECP5 makes at the pin. The product is the same, shifted as much; its own
copies of the sign become one net. In the 8 x 16 array 20 of a multiplier's 36 inputs go.
"""

from __future__ import annotations

OPERAND, PRODUCT = 18, 36  # bits
CELL = "MULT18X18D"


def significant(bits: list) -> int:
    """Bits of a sign-extended number without the copies of its sign."""
    n = len(bits)
    while n > 1 and bits[n - 1] == bits[n - 2]:
        n -= 1
    return n


def justify(netlist: dict, top: str) -> int:
    """Change module `top` of what `write_json` wrote, in place; gives the number of inputs freed.

    Only products of two signed operands: of others nothing is known about the upper bits.
    """
    module, same, freed = netlist["modules"][top], {}, 0
    for cell in module["cells"].values():
        pins = cell["connections"]
        if cell["type"] != CELL or pins["SIGNEDA"] != ["1"] or pins["SIGNEDB"] != ["1"]:
            continue
        shift = 0
        for port in "AB":
            bits = [pins[f"{port}{n}"][0] for n in range(OPERAND)]
            zeros = OPERAND - significant(bits)
            for n, bit in enumerate(["0"] * zeros + bits[: OPERAND - zeros]):
                pins[f"{port}{n}"] = [bit]
            shift += zeros
        product = {n: pins.pop(f"P{n}")[0] for n in range(PRODUCT) if f"P{n}" in pins}
        for n in product:
            del cell["port_directions"][f"P{n}"]
        for n, bit in product.items():
            raised = min(n + shift, PRODUCT - 1)  # the sign and its copies: the last bit
            pin = pins.setdefault(f"P{raised}", [bit])
            cell["port_directions"][f"P{raised}"] = "output"
            same[bit] = pin[0]
        freed += shift
    for cell in module["cells"].values():
        for bits in cell["connections"].values():
            bits[:] = [same.get(bit, bit) for bit in bits]
    for named in (*module["netnames"].values(), *module["ports"].values()):
        named["bits"] = [same.get(bit, bit) for bit in named["bits"]]
    return freed
