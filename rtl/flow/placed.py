"""The paths of a placed netlist: where nextpnr put the cells, and what it expects of the wires.

`rtl.flow.pnr` writes them beside a placement: which registers decide the clock, before a router
has spent its minutes. nextpnr adds up the same figures while it places, and names one path.
"""

from __future__ import annotations

from collections.abc import Mapping

from .netlist import nets

Place = tuple[int, int]  # X, Y of a tile

STEP = 80  # ps; nextpnr-ecp5's estimate at grade 6: six steps, two for each of the first five tiles
NEAR = 5  # in X and in Y, one for each tile after them
# what nextpnr calls the part of a cell whose place stands for the cell, where it takes it apart
PARTS = {"CCU2C": "$CCU2_COMB0", "TRELLIS_DPR16X4": "$RAMW_SLICE"}
DATA = {"PFUMX": "ALUT", "L6MUX21": "D0"}  # these become part of the slice that drives this input


def distance(a: Place, b: Place) -> int:
    """ps of a wire between two tiles."""
    steps = 6
    for there, here in zip(a, b, strict=True):
        tiles = abs(there - here)
        steps += tiles + min(tiles, NEAR)
    return STEP * steps


def places(module: Mapping, placed: Mapping) -> dict[str, Place]:
    """The tile of each cell of a mapped module; placed: the module that nextpnr wrote for it.

    Raises ValueError for a cell that has no place.
    """
    driver = {
        bit: name
        for name, cell in module["cells"].items()
        for port, bits in cell["connections"].items()
        if cell["port_directions"][port] == "output"
        for bit in nets(bits)
    }

    def find(name: str) -> Place:
        cell = module["cells"][name]
        kind = cell["type"]
        if kind in DATA:
            return find(driver[cell["connections"][DATA[kind]][0]])
        there = placed["cells"].get(name + PARTS.get(kind, ""), {"attributes": {}})
        if (bel := there["attributes"].get("NEXTPNR_BEL")) is None:
            raise ValueError(f"{kind} {name} has no place")
        x, y, _ = bel.split("/")
        return int(x[1:]), int(y[1:])

    return {name: find(name) for name, cell in module["cells"].items() if cell["type"][0] != "$"}
