"""rtl.synth: Yosys runs, its statistics are counted by stated rules."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from rtl import synth


@pytest.mark.parametrize(("target", "dsps"), [("ecp5", 8), ("xc7", 8)])
def test_a_small_block_counts(target, dsps, tmp_path):
    usage = synth.synthesize("requantize", "tiny", target, tmp_path)
    assert usage.failure is None
    assert usage.luts > 100 and usage.ffs > 100
    assert usage.dsps == dsps  # a 32 x 16 product takes two multipliers
    assert usage.brams == 0
    assert (tmp_path / "tiny" / "requantize" / target / "log.txt").stat().st_size


def test_sites_of_cells():
    cells = {"LUT4": 10, "CCU2C": 3, "TRELLIS_DPR16X4": 1, "PFUMX": 4, "TRELLIS_FF": 5}
    assert synth.count("ecp5", cells) == {"luts": 22, "ffs": 5, "dsps": 0, "brams": 0}
    cells = {"LUT1": 1, "LUT6": 2, "RAM32M": 1, "FDRE": 7, "RAMB18E1": 3, "DSP48E1": 2}
    assert synth.count("xc7", cells) == {"luts": 7, "ffs": 7, "dsps": 2, "brams": 1.5}


def test_a_cell_without_a_rule_is_refused():
    with pytest.raises(ValueError, match="not counted: NEW_CELL"):
        synth.count("ecp5", {"LUT4": 1, "NEW_CELL": 1})


def test_a_failure_names_block_and_log(tmp_path, monkeypatch, capsys):
    failed = synth.Usage("gelu", "tiny", "ecp5", failure=f"Yosys: ERROR: no; log {tmp_path}/log")
    monkeypatch.setattr(synth, "synthesize", lambda *job: failed)
    monkeypatch.setattr(synth, "ProcessPoolExecutor", ThreadPoolExecutor)
    file = tmp_path / "synth.json"
    assert synth.main(["--block", "gelu", "--config", "tiny", "--json", str(file)]) == 1
    assert f"synth: gelu tiny ecp5: Yosys: ERROR: no; log {tmp_path}" in capsys.readouterr().err
    assert [entry["failure"] for entry in json.loads(file.read_text())] == [failed.failure] * 2


def test_yosys_that_fails_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(synth, "emit", lambda block, config: "module gelu(; endmodule\n")
    usage = synth.synthesize("gelu", "tiny", "ecp5", tmp_path)
    assert "Yosys: " in usage.failure and "log.txt" in usage.failure
