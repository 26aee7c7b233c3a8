"""Flip-flops that drive very many inputs, several times: each copy has cells of neighbouring names.

A wire to a thousand inputs leads to all corners of the chip, and what waits for it waits for the
farthest. Copies hold the same value in every cycle, as they have the same inputs; Yosys would make
one of them again, nextpnr does not. Inputs that a slice shares (clock, enable, reset) stay with the
first: their wires are others.
"""

from __future__ import annotations

import copy
import re

from .netlist import nets

LEAST = 128  # inputs, from which on a flip-flop is made several times
EACH = 64  # inputs of a copy, at most
SHARED = re.compile(r"CLK\w*|W?CK|CE\w?|LSR|WRE")


def natural(name: str) -> list:
    """Sorts a9 before a10: cells of neighbouring bits and columns follow each other."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def replicate(netlist: dict, top: str) -> int:
    """Copy flip-flops in module `top`; how many copies there are, without the first ones."""
    module = netlist["modules"][top]
    cells, netnames = module["cells"], module["netnames"]
    ports = {bit for port in module["ports"].values() for bit in nets(port["bits"])}
    sinks: dict[int, list[tuple[str, str, int]]] = {}
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input" and not SHARED.fullmatch(port):
                for n, bit in enumerate(bits):
                    if isinstance(bit, int):
                        sinks.setdefault(bit, []).append((name, port, n))
    free = 1 + max(bit for net in netnames.values() for bit in nets(net["bits"]))
    made = 0
    for name, cell in list(cells.items()):
        if cell["type"] != "TRELLIS_FF":
            continue
        (q,) = cell["connections"]["Q"]
        driven = sorted(sinks.get(q, []), key=lambda sink: natural(sink[0]))
        if len(driven) < LEAST or q in ports:
            continue
        for first in range(EACH, len(driven), EACH):
            made, bit, free = made + 1, free, free + 1
            twin = copy.deepcopy(cell)
            twin["connections"]["Q"] = [bit]
            cells[f"{name}_copy{first // EACH}"] = twin
            netnames[f"{name}_copy{first // EACH}_Q"] = {"hide_name": 1, "bits": [bit]}
            for sink, port, n in driven[first : first + EACH]:
                cells[sink]["connections"][port][n] = bit
    return made
