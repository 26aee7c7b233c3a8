"""fqvit_hw.rtl.flow.liberty: areas, capacitances and energies as they stand in the file."""

import pytest

from fqvit_hw.errors import ToolError
from fqvit_hw.rtl.flow import liberty

TEXT = """
/* a comment { */
library(small) {
  time_unit : "1ns";
  capacitive_load_unit (1,pf);
  cell (INV) {
    area : 16;
    pin(A) { direction : input; capacitance : 0.01; }
    pin(Y) {
      direction : output;
      function : "(!A)";
      internal_power() {
        related_pin : "A";
        rise_power(energy) {
          index_1 ("0.1, 0.2");
          index_2 ("1, 3");
          values ( \\
            "1, 3", \\
            "5, 7");
        }
        fall_power(energy) { index_1 ("0.1, 0.2"); index_2 ("1, 3"); values ("0, 0", "0, 0"); }
      }
    }
  }
}
"""


@pytest.fixture
def small(tmp_path):
    file = tmp_path / "small.lib"
    file.write_text(TEXT)
    return liberty.library(file)


def test_a_cell(small):
    (cell,) = small.values()
    assert list(small) == ["INV"]
    assert (cell.area, cell.inputs, cell.outputs) == (16.0, {"A": 0.01}, {"Y": "(~A)"})


@pytest.mark.parametrize(
    ("function", "verilog"),
    [
        ("(!((A B)+(C D)))", "(~((A&B)|(C&D)))"),
        ("(!((A+B) (C+D)))", "(~((A|B)&(C|D)))"),
        ("(!((S A) + (!S B)))", "(~((S&A) | (~S&B)))"),
        ("(A !B)", "(A&~B)"),
        ("((A^B)^C)", "((A^B)^C)"),
    ],
)
def test_functions_in_verilog(function, verilog):
    assert liberty.expression(function) == verilog


def test_a_register():
    text = """library(x) { cell (DFF) { area : 9; ff (IQ, IQN) { next_state : "D";
      clocked_on : "C"; }
      pin(C) { direction : input; capacitance : 1; } pin(D) { direction : input; capacitance : 2; }
      pin(Q) { direction : output; function : "IQ"; } } }"""
    found = liberty.cell(liberty.parse(text).groups[0])
    assert (found.clock, found.outputs) == ("C", {"Q": "D"})


@pytest.mark.parametrize(
    ("load", "slew", "rise"), [(0.1, 1, 1), (0.2, 3, 7), (0.15, 2, 4), (0.1, 2, 2), (9, 9, 7)]
)
def test_energy_is_interpolated_and_the_mean_of_both_edges(small, load, slew, rise):
    assert small["INV"].energy("Y", load, slew) == pytest.approx(rise / 2)


def test_a_pin_without_a_table_takes_nothing(small):
    assert small["INV"].energy("A", 0.1, 1) == 0


@pytest.mark.parametrize(
    "text",
    ["", "cell (A) { }", TEXT.rstrip()[:-1], "library(x) { area 3; }", "library(x) { a (b) c }"],
)
def test_what_is_no_library_is_refused(text):
    with pytest.raises(ValueError, match=r"Liberty|expected"):
        liberty.parse(text)


def test_a_missing_library_is_one_line(tmp_path):
    with pytest.raises(ToolError, match=r"none.lib is missing: run `make asic`"):
        liberty.library(tmp_path / "none.lib")
