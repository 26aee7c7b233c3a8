"""fqvit_hw.rtl.flow.timing: the command."""

import json
from concurrent.futures import ThreadPoolExecutor

from fqvit_hw.rtl.flow import timing, tools
from fqvit_hw.rtl.flow.estimate import Estimate

from .netlists import chain


def test_without_a_path_neither_ns_nor_mhz_are_claimed():
    said = timing.report(Estimate("gelu", "tiny", luts=1), 7.5)
    assert said == "gelu tiny: 1 LUTs, 0 FFs, no path from register to register"


def test_a_block_is_one_line_and_a_line_for_each_register(tmp_path, monkeypatch, capsys):
    def made(block, config, folder):
        if block == "gelu":
            raise RuntimeError("yosys: ERROR: no; log x")
        return {"modules": {timing.TOP: chain().module}}

    monkeypatch.setattr(timing, "mapped", made)
    monkeypatch.setattr(tools, "ProcessPoolExecutor", ThreadPoolExecutor)
    file = tmp_path / "timing.json"
    kept = tmp_path / "history.jsonl"
    arguments = ["--config", "tiny", "--budget", "2", "--json", str(file), "--history", str(kept)]
    assert timing.main(arguments) == 1
    said = capsys.readouterr().out
    assert "softmax tiny: 2 LUTs, 3 FFs, 2.83 ns, 353.7 MHz; over 2 ns: 1 of 2\n" in said
    assert "first -> block.sum (over: 1): LUT4 x2\n" in said
    assert "gelu tiny: yosys: ERROR: no; log x\n" in said
    saved = {entry["block"]: entry for entry in json.loads(file.read_text())}
    assert saved["gelu"]["failure"] and saved["softmax"]["ns"] == 2.827
    lines = {entry["block"]: entry for entry in map(json.loads, kept.read_text().splitlines())}
    assert "gelu" not in lines and lines["softmax"]["fmax"] == 353.7


def test_a_block_that_does_not_map_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "convert", lambda *made: "module harness(; endmodule")
    estimate = timing.time_block("requantize", "tiny", build=tmp_path)
    assert estimate.failure and estimate.failure.startswith("yosys: ")
    assert estimate.ns == 0 and not estimate.groups
