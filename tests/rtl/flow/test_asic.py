"""fqvit_hw.rtl.flow.asic: what is mapped, timed and listed, with the real tools where they are."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from fqvit_hw.errors import ToolError
from fqvit_hw.rtl.flow import asic, liberty, rams, sta, structural, tools
from fqvit_hw.sim.blocks.runner import run_bench

needs_library = pytest.mark.skipif(
    not liberty.LIBRARY.exists() or shutil.which("sta") is None,
    reason="no cells or no OpenSTA here (Debian: apt-get install qflow-tech-osu018 opensta)",
)
# a product, a memory of 64 words that is a macro, one of 4 words that is flip-flops
TOP = """
module top(input clk, input rst, input we, input [5:0] at, input [3:0] a, b, output reg [7:0] o);
  reg [3:0] large [0:63], small [0:3];
  reg [3:0] read, x;
  always @(posedge clk) begin
    if (we) begin large[at] <= a; small[at[1:0]] <= b; end
    read <= large[at];
    x <= small[at[1:0]];
    if (rst) o <= 0; else o <= read * x;
  end
endmodule
"""
REPORT = """
Startpoint: ram0 (rising edge-triggered flip-flop clocked by clk)
Endpoint: c17 (rising edge-triggered flip-flop clocked by clk)
Path Group: clk
   6.078   data arrival time
---------------------------------------------------------
   3.736   slack (MET)

"""
CELLS = {
    "INV": liberty.Cell(16.0, {"A": 0.01}, {"Y": "(~A)"}, {}),
    "DFF": liberty.Cell(96.0, {"CLK": 0.03, "D": 0.02}, {"Q": "D"}, {}, clock="CLK"),
}
MODULE = {
    "ports": {
        "clk": {"direction": "input", "bits": [2]},
        "i": {"direction": "input", "bits": [3, 4]},
        "o": {"direction": "output", "bits": [6, "1"]},
    },
    "cells": {
        "a": {"type": "INV", "connections": {"A": [3], "Y": [5]}},
        "b": {"type": "DFF", "connections": {"CLK": [2], "D": [5], "Q": [6]}},
    },
    "netnames": {
        "clk": {"hide_name": 0, "bits": [2]},
        "$auto": {"hide_name": 1, "bits": [5]},
        "o": {"hide_name": 0, "bits": [6, "1"]},
        "count": {"hide_name": 0, "bits": [9, 6]},
    },
}


def memory(**changes) -> dict:
    """A $mem_v2 of 32 x 4 as Yosys writes it."""
    parameters = {"SIZE": 32, "WIDTH": 4, "ABITS": 5, "RD_PORTS": 1, "WR_PORTS": 1}
    parameters |= {"RD_CLK_ENABLE": 1, "RD_TRANSPARENCY_MASK": 0} | changes
    pins = {"RD_CLK": [2], "WR_CLK": [2], "RD_SRST": ["0"], "RD_ARST": ["0"]}
    pins |= {"RD_EN": ["1"], "RD_ADDR": [10, 11, 12, 13, 14], "RD_DATA": [20, 21, 22, 23]}
    pins |= {"WR_EN": [3] * 4, "WR_ADDR": [10, 11, 12, 13, 14], "WR_DATA": [30, 31, 32, 33]}
    numbers = {name: f"{value:032b}" for name, value in parameters.items()}
    return {"type": rams.KIND, "parameters": numbers, "connections": pins}


def test_the_slowest_path_of_a_report():
    assert sta.read_report(REPORT) == sta.Slowest(6.264, "ram0", "c17")
    late = REPORT.replace("3.736   slack (MET)", "-2.500   slack (VIOLATED)")
    assert sta.read_report(late).ns == 12.5


@pytest.mark.parametrize("said", ["", "No paths found.", REPORT.replace("Endpoint", "End")])
def test_a_report_without_a_path_is_refused(said):
    with pytest.raises(ValueError, match="no path"):
        sta.read_report(said)


def test_ports_that_hold_still_take_their_time():
    lines = sta.script("top", ["clk", "rst", "i", "config_bits"], rams=False)
    assert "set_false_path -from [get_ports {rst config_bits}]" in lines
    assert "rams.lib" not in lines and "rams.lib" in sta.script("top", ["rst"], rams=True)


def test_a_netlist_is_wires_of_one_bit():
    made = structural.Netlist(MODULE, CELLS)
    assert made.area == 112
    assert made.loads() == {2: 0.03, 3: 0.01, 5: 0.02}
    text = made.structure("top")
    for line in (
        "module top (clk, i, o);", "input [1:0] i;", "assign n4 = i[1];", "assign o[0] = n6;",
        "assign o[1] = 1'b1;", "INV c5 (.A(n3), .Y(n5));", "DFF c6 (.CLK(n2), .D(n5), .Q(n6));",
    ):  # fmt: skip
        assert line in text
    text = made.behaviour("top")
    for line in ("assign n5 = (~n3);", "reg n6;", "always @(posedge n2) n6 <= n5;"):
        assert line in text
    assert [made.called(name) for name in ("c6", "c5", "i[1]")] == ["o[0]", "$auto", "i[1]"]


def test_a_cell_of_another_library_is_refused():
    with pytest.raises(ValueError, match="DFF is no cell"):
        structural.Netlist(MODULE, {"INV": CELLS["INV"]})


@pytest.mark.parametrize(("function", "clock"), [("Q", "CLK"), ("D", "(~CLK)"), ("", "")])
def test_a_latch_is_not_simulated(function, clock):
    cell = liberty.Cell(1.0, CELLS["DFF"].inputs, {"Q": function or "hold"}, {}, clock)
    with pytest.raises(ValueError, match="neither a gate nor a flip-flop"):
        structural.Netlist(MODULE, CELLS | {"DFF": cell}).behaviour("top")


def test_a_memory_is_a_macro():
    module = {"ports": {}, "netnames": {}, "cells": {"units.rows": memory()}}
    made = structural.Netlist(module, CELLS)
    assert [(name, ram.name) for name, ram, _ in made.rams] == [("units.rows", "ram_32x4_1r1w")]
    assert made.area == 0 and made.called("ram0") == "units.rows"
    text = made.structure("top")
    assert "ram_32x4_1r1w ram0 (.CLK(n2), " in text
    assert ".RD_DATA({n23, n22, n21, n20})" in text and ".RD_EN(1'b1)" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WR_PORTS": 2}, "2 ports that write"),
        ({"RD_CLK_ENABLE": 0}, "without a clock"),
        ({"RD_TRANSPARENCY_MASK": 1}, "while it is written"),
    ],
)
def test_a_memory_that_is_no_macro_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        rams.ram(memory(**changes))


def test_a_memory_with_a_reset_is_refused():
    cell = memory()
    cell["connections"]["RD_SRST"] = [7]
    with pytest.raises(ValueError, match="reset"):
        rams.ram(cell)


def test_missing_tools_are_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sta.shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match=r"OpenSTA \(sta\) is missing"):
        sta.require()
    assert asic.main(["--block", "gelu", "--config", "tiny"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_failure_names_the_block(tmp_path, monkeypatch, capsys):
    failed = asic.Chip("gelu", "tiny", failure="yosys: ERROR: no")
    monkeypatch.setattr(asic, "map_block", lambda *job: failed)
    monkeypatch.setattr(asic, "require", lambda: None)
    monkeypatch.setattr(tools, "ProcessPoolExecutor", ThreadPoolExecutor)
    file = tmp_path / "asic.json"
    assert asic.main(["--block", "gelu", "--config", "tiny", "--json", str(file)]) == 1
    assert "asic: gelu tiny: yosys: ERROR: no" in capsys.readouterr().err
    assert [entry["failure"] for entry in json.loads(file.read_text())] == ["yosys: ERROR: no"]


@needs_library
def test_one_gate_equivalent_is_the_librarys_nand():
    assert liberty.library()[liberty.NAND2].area == 24
    assert liberty.library()[liberty.FLIP_FLOP].area == 96


@needs_library
def test_a_small_design_end_to_end(tmp_path):
    chip = asic.Chip("top", "small")
    asic.measure(chip, asic.netlist("top", TOP, tmp_path), tmp_path)
    assert chip.memories == [asic.Memories(1, 64, 4, 1)] and chip.memory_bits == 256
    assert chip.ffs == 4 * 4 + 4 + 8  # `read` is the macro's own
    assert chip.cells > 28 + 16 and chip.nand2 == round(chip.area / 24)
    assert chip.area > chip.ffs * 96
    assert 0.5 < chip.ns < 5 and chip.mhz == round(1000 / chip.ns, 1)
    assert chip.slowest_from in ("large", *(f"x[{n}]" for n in range(4)))
    assert chip.slowest_to in [f"o[{n}]" for n in range(8)]


@needs_library
@pytest.mark.parametrize(
    ("block", "config", "case", "macros"),
    [("requantize", "lanes1_w8", "random_7", 0), ("gelu", "lanes1_w10", "index10", 1)],
)
def test_a_netlist_computes_what_its_block_computes(block, config, case, macros, tmp_path):
    def mutate(text: str) -> str:
        made = asic.netlist(block, text, tmp_path / "mapped")
        assert len(made.rams) == macros
        return "\n".join([made.behaviour(block), *{rams.model(r) for _, r, _ in made.rams}])

    result = run_bench(block, config, mutate=mutate, folder=tmp_path / "bench", case=case)
    assert result.failure is None and result.beats > 0
