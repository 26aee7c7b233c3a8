"""fqvit_hw.rtl.flow.timing: what is reported of a netlist's paths."""

import json
from concurrent.futures import ThreadPoolExecutor

from fqvit_hw.rtl.flow import timing, tools
from fqvit_hw.rtl.flow.paths import BESIDE, WIRE, Paths
from fqvit_hw.rtl.flow.timing import Estimate, grouped

from .netlists import Maker

CLKQ, LUT = 525, 236


def test_no_path():
    """Pins and constants start none: neither ns nor MHz are claimed."""
    made = Maker()
    made.lut(11, 20, "1")
    made.ff(10, 11)
    estimate = Estimate("gelu", "tiny")
    timing.measure(made.module, estimate)
    assert (estimate.endpoints, estimate.ns, estimate.fmax, estimate.luts) == (0, 0, 0, 1)
    assert timing.report(estimate, 7.5).endswith("no path from register to register")


def chain() -> Maker:
    """Two bits of `sum` behind three LUTs, and its source."""
    made = Maker()
    made.ff(10, 20)
    made.lut(11, 10)
    made.lut(12, 11)
    made.ff(30, 12)
    made.ff(31, 11)
    made.name("first", 10)
    made.name("block.sum", 30, 31)
    made.name("middle", 11)
    return made


def test_groups_name_registers_cells_and_nets():
    netlist = Paths(chain().module)
    (group,) = grouped(netlist, budget=1.8)
    assert (group.start, group.end, group.over) == ("first", "block.sum", 1)
    assert group.cells == {"LUT4": 2} and group.nets == ["first", "middle", "net 12"]
    assert group.ns == (CLKQ + 2 * (WIRE + LUT) + BESIDE) / 1000
    assert timing.describe(group) == "  2.83 ns  first -> block.sum (over: 1): LUT4 x2"


def test_a_block_is_one_line_and_a_line_for_each_register(tmp_path, monkeypatch, capsys):
    def made(block, config, folder):
        if block == "gelu":
            raise RuntimeError("yosys: ERROR: no; log x")
        return {"modules": {timing.TOP: chain().module}}

    monkeypatch.setattr(timing, "mapped", made)
    monkeypatch.setattr(tools, "ProcessPoolExecutor", ThreadPoolExecutor)
    file = tmp_path / "timing.json"
    assert timing.main(["--config", "tiny", "--budget", "2", "--json", str(file)]) == 1
    said = capsys.readouterr().out
    assert "softmax tiny: 2 LUTs, 3 FFs, 2.83 ns, 353.7 MHz; over 2 ns: 1 of 2\n" in said
    assert "first -> block.sum (over: 1): LUT4 x2\n" in said
    assert "gelu tiny: yosys: ERROR: no; log x\n" in said
    saved = {entry["block"]: entry for entry in json.loads(file.read_text())}
    assert saved["gelu"]["failure"] and saved["softmax"]["ns"] == 2.827


def test_a_block_that_does_not_map_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "convert", lambda *made: "module harness(; endmodule")
    estimate = timing.time_block("requantize", "tiny", build=tmp_path)
    assert estimate.failure and estimate.failure.startswith("yosys: ")
    assert estimate.ns == 0 and not estimate.groups
