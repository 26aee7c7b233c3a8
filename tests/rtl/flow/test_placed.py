"""rtl.flow.placed: where cells are, in nextpnr's words, and the paths between them."""

import pytest

from fqvit_hw.rtl.flow.paths import BESIDE, Paths
from fqvit_hw.rtl.flow.placed import distance, places

from .netlists import Maker

CLKQ, LUT = 525, 236


def at(**bels: str) -> dict:
    """A module as nextpnr writes it: the places of its cells."""
    named = {name.replace("__", "$"): bel for name, bel in bels.items()}
    return {"cells": {n: {"attributes": {"NEXTPNR_BEL": bel}} for n, bel in named.items()}}


def test_wires_by_their_length():
    assert distance((4, 9), (4, 9)) == 80 * 6
    assert distance((4, 9), (7, 8)) == 80 * (6 + 2 * 3 + 2 * 1)
    assert distance((60, 9), (40, 12)) == 80 * (6 + 20 + 5 + 2 * 3)  # twice for the first five


def test_a_path_between_places():
    made = Maker()
    made.ff(10, 12)
    made.lut(11, 10)
    made.lut(12, 11)
    placed = at(ff10="X9/Y4/SLICEA.FF0", lut11="X9/Y5/SLICEB.LUT1", lut12="X9/Y4/SLICEA.LUT0")
    (end,) = Paths(made.module, places(made.module, placed)).endpoints()
    assert end.ps == CLKQ + 2 * (80 * 8 + LUT) + BESIDE
    placed = at(ff10="X9/Y4/SLICEA.FF0", lut11="X9/Y5/SLICEB.LUT1", lut12="X9/Y7/SLICEA.LUT0")
    (end,) = Paths(made.module, places(made.module, placed)).endpoints()
    assert end.ps == CLKQ + 80 * 8 + LUT + 80 * 10 + LUT + 80 * 12


def test_cells_that_nextpnr_takes_apart_or_puts_together():
    made = Maker()
    made.cell("CCU2C", "add", A0=10, A1="0", S0=20, COUT=21)
    made.cell("TRELLIS_DPR16X4", "ram", RAD=[10, "0"], DO=[22, 23])
    for z in (11, 12):
        made.lut(z, 10)
    made.cell("PFUMX", "mux", ALUT=11, BLUT=12, C0=10, Z=15)
    made.cell("L6MUX21", "wide", D0=15, D1=15, SD=10, Z=16)
    made.cell("$scopeinfo", "scope")
    placed = at(
        add__CCU2_COMB0="X1/Y2/SLICEA.K0",
        add__CCU2_COMB1="X1/Y2/SLICEA.K1",
        ram__RAMW_SLICE="X3/Y4/SLICEC.RAMW",
        lut11="X5/Y6/SLICEA.K0",
        lut12="X5/Y6/SLICEA.K1",
    )
    luts = dict.fromkeys(("lut11", "lut12", "mux", "wide"), (5, 6))
    assert places(made.module, placed) == {"add": (1, 2), "ram": (3, 4)} | luts


def test_a_cell_without_a_place_is_named():
    made = Maker()
    made.lut(11, 10)
    with pytest.raises(ValueError, match="LUT4 lut11 has no place"):
        places(made.module, {"cells": {}})
