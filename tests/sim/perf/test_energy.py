"""fqvit_hw.sim.perf.energy: what a toggle costs, how toggles are counted and read."""

import subprocess

import numpy as np
import pytest

from fqvit_hw.rtl.flow.liberty import FLIP_FLOP, Cell, Table
from fqvit_hw.rtl.flow.structural import Netlist
from fqvit_hw.sim.networks.simulated import toggles
from fqvit_hw.sim.perf import energy


def table(pj: float) -> list[Table]:
    return [Table([], [0.1], np.array([[pj]]))]


CELLS = {
    "INVX1": Cell(16.0, {"A": 1.0}, {"Y": "(~A)"}, {"A": [], "Y": table(10.0)}),
    FLIP_FLOP: Cell(
        96.0,
        {"CLK": 3.0, "D": 2.0},
        {"Q": "D"},
        {"CLK": table(1.0), "D": table(5.0), "Q": table(7.0)},
        clock="CLK",
    ),
}
MODULE = {  # the flip-flop's output, inverted, is its input
    "ports": {"clk": {"direction": "input", "bits": [2]}},
    "cells": {
        "a": {"type": "INVX1", "connections": {"A": [4], "Y": [3]}},
        "b": {"type": FLIP_FLOP, "connections": {"CLK": [2], "D": [3], "Q": [4]}},
    },
    "netnames": {},
}


def test_what_toggles_cost():
    """Halves of C V^2 with 1.8 V: 2 pF behind the inverter, 1 pF behind the flip-flop."""
    found = energy.spent(Netlist(MODULE, CELLS), {3: 3000, 4: 1000, 2: 9}, 2000)
    assert found["nets"] == pytest.approx((3 * 2 + 1 * 1) * 1.8**2 / 2, abs=0.06)
    assert found["cells"] == pytest.approx(3 * 10 + 1 * 7 + 3 * 5)
    assert found["clock"] == pytest.approx(2 * 2 * (3 * 1.8**2 / 2 + 1), abs=0.06)


def test_nets_that_were_counted_stand_for_all():
    """Twice the inverter's, with the flip-flop's input that hangs on it."""
    found = energy.spent(Netlist(MODULE, CELLS), {3: 3000}, 0)
    assert found["nets"] == pytest.approx(2 * 3 * 2 * 1.8**2 / 2, abs=0.06)
    assert found["cells"] == 2 * (3 * 10 + 3 * 5) and found["clock"] == 0


def test_nets_are_drawn_of_those_that_cells_drive(monkeypatch):
    assert energy.chosen(Netlist(MODULE, CELLS)) < {3, 4}
    monkeypatch.setattr(energy, "ONE_IN", 1)
    assert energy.chosen(Netlist(MODULE, CELLS)) == {3, 4}


def test_a_simulation_that_counted_nothing_is_refused():
    with pytest.raises(ValueError, match="no net"):
        energy.spent(Netlist(MODULE, CELLS), {2: 7}, 1)


def test_toggles_of_a_coverage_file():
    point = "C '\x01f\x02a.v\x01l\x027\x01page\x02v_toggle/top\x01o\x02{}\x01h\x02top' {}\n"
    text = "# SystemC::Coverage-3\n" + point.format("n12", 40) + point.format("i[3]", 0)
    assert toggles(text) == {"n12": 40, "i[3]": 0}


MAIN = """
#include "Vaccelerator.h"
#include "verilated_cov.h"
int main() {
  Vaccelerator top;
  for (int n = 0; n < 17; n++) {
    if (n == 10) Verilated::threadContextp()->coveragep()->zero();
    for (int edge = 0; edge < 2; edge++) { top.clk = edge; top.eval(); }
  }
  Verilated::threadContextp()->coveragep()->write("coverage.dat");
}
"""


def test_verilator_counts_the_nets_that_are_asked_for(tmp_path):
    (tmp_path / "accelerator.v").write_text(energy.simulated(Netlist(MODULE, CELLS), {2, 4}))
    (tmp_path / "main.cpp").write_text(MAIN)
    command = ["verilator", "--cc", "--exe", "--build", "--top-module", "accelerator", "-Wno-lint"]
    command += [*energy.COUNTING, "main.cpp", "accelerator.v"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    subprocess.run([tmp_path / "obj_dir" / "Vaccelerator"], cwd=tmp_path, check=True)
    text = (tmp_path / "coverage.dat").read_text()
    assert toggles(text) == {"n2": 14, "n4": 7}
