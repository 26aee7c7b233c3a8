"""fqvit_hw.rtl.flow.synth: Yosys runs, its statistics are counted by stated rules."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from fqvit_hw.machine.hardware import ECP5_85K
from fqvit_hw.rtl.accelerator.scratchpad import Scratchpad
from fqvit_hw.rtl.flow import synth, tools
from fqvit_hw.rtl.flow.verilog import convert


@pytest.mark.parametrize(("target", "dsps"), [("ecp5", 8), ("xc7", 8), ("xcup", 8)])
def test_a_small_block_counts(target, dsps, tmp_path):
    usage = synth.synthesize("requantize", "tiny", target, build=tmp_path)
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
    cells = {"LUT6": 2, "RAM32M16": 1, "FDSE": 7, "RAMB18E2": 3, "RAMB36E2": 1, "DSP48E2": 2}
    assert synth.count("xcup", cells) == {"luts": 10, "ffs": 7, "dsps": 2, "brams": 2.5}


def test_a_cell_without_a_rule_is_refused():
    with pytest.raises(ValueError, match="not counted: NEW_CELL"):
        synth.count("ecp5", {"LUT4": 1, "NEW_CELL": 1})


def test_a_failure_names_block_and_log(tmp_path, monkeypatch, capsys):
    failed = synth.Usage("gelu", "tiny", "ecp5", failure=f"Yosys: ERROR: no; log {tmp_path}/log")
    monkeypatch.setattr(synth, "synthesize", lambda *job: failed)
    monkeypatch.setattr(tools, "ProcessPoolExecutor", ThreadPoolExecutor)
    file = tmp_path / "synth.json"
    assert synth.main(["--block", "gelu", "--config", "tiny", "--json", str(file)]) == 1
    assert f"synth: gelu tiny ecp5: Yosys: ERROR: no; log {tmp_path}" in capsys.readouterr().err
    assert [entry["failure"] for entry in json.loads(file.read_text())] == [failed.failure] * 2


def test_yosys_that_fails_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(synth, "emit", lambda *job, **_: "module gelu(; endmodule\n")
    usage = synth.synthesize("gelu", "tiny", "ecp5", build=tmp_path)
    assert "yosys: " in usage.failure and "log.txt" in usage.failure


@pytest.mark.parametrize(
    ("luts", "dsps", "config", "status", "verdict"),
    [
        (83640, 156, "ecp5_85k", 0, "it fits"),
        (83641, 156, "ecp5_85k", 1, "IT DOES NOT FIT"),
        (83640, 157, "ecp5_85k", 1, "IT DOES NOT FIT"),
        (90000, 300, "base", 0, "IT DOES NOT FIT"),  # not made for that chip
    ],
)
def test_the_accelerator_fits_its_chip(
    luts, dsps, config, status, verdict, tmp_path, monkeypatch, capsys
):
    def made(block, config, target, modes):
        return synth.Usage(block, config, target, luts=luts, ffs=1000, dsps=dsps, brams=208)

    monkeypatch.setattr(synth, "synthesize", made)
    monkeypatch.setattr(tools, "ProcessPoolExecutor", ThreadPoolExecutor)
    arguments = ["--block", "accelerator", "--config", config]
    assert synth.main([*arguments, "--json", str(tmp_path / "synth.json")]) == status
    line = (
        f"accelerator {config} on an ECP5-85k: {luts} / 83640 LUTs, 1000 / 83640 FFs, "
        f"{dsps} / 156 multipliers, 208 / 208 block RAMs: {verdict}"
    )
    assert line in capsys.readouterr().out.splitlines()


def test_a_configuration_of_one_family(tmp_path, monkeypatch):
    """It is mapped to that one alone, with DSP48E2s by their names, unless another one is named."""
    seen = []

    def emitted(block, config, modes, platform):
        seen.append(getattr(platform, "dsp48e2", False))
        return "module accelerator(input a, output b); assign b = a; endmodule\n"

    monkeypatch.setattr(synth, "emit", emitted)
    monkeypatch.setattr(synth.synthesize, "__defaults__", ((), tmp_path))
    monkeypatch.setattr(tools, "ProcessPoolExecutor", ThreadPoolExecutor)
    file = tmp_path / "synth.json"
    arguments = ["--block", "accelerator", "--config", "ultrascale", "--json", str(file)]
    for more, targets in (([], ["xcup"]), (["--target", "xc7"], ["xc7"])):
        assert synth.main([*arguments, *more]) == 0
        assert [entry["target"] for entry in json.loads(file.read_text())] == targets
    assert seen == [True, False]


def test_other_attention_modes(tmp_path, monkeypatch, capsys):
    """They replace the configuration's, and the result says so; a block without modes refuses."""
    seen = []

    def emitted(block, config, modes, platform):
        seen.append((block, config, modes))
        return "module softmax(input a, output b); assign b = a; endmodule\n"

    monkeypatch.setattr(synth, "emit", emitted)
    usage = synth.synthesize("softmax", "tiny", "ecp5", ("max5", "max3"), tmp_path)
    assert (usage.config, usage.failure) == ("tiny max5 max3", None)
    assert seen == [("softmax", "tiny", ("max5", "max3"))]
    for block, mode, said in (("gelu", "max5", "gelu builds no"), ("softmax", "max9", "max9")):
        assert synth.main(["--block", block, "--config", "tiny", "--modes", mode]) == 2
        assert said in capsys.readouterr().err


def test_an_attention_on_ecp5_is_mapped_by_modules():
    assert synth.mapping("attention", "ecp5", "top") == (
        "read_verilog top.v; synth_ecp5 -top top -noflatten"
    )
    assert "-flatten" in synth.mapping("attention", "xc7", "top")
    assert "flatten" not in synth.mapping("accelerator", "xc7", "top")
    assert "flatten" not in synth.mapping("gelu", "ecp5", "top")


SCRATCHPADS = {  # of ecp5_85k, and its tiles: depth, width, granularity, DP16KD
    "acts": (ECP5_85K.acts, 64, 8, 32),
    "stream": (ECP5_85K.stream, 256, 16, 64),
    "codes": (ECP5_85K.codes, 32, 4, 16),
    "tiles": (512, 1024, 8, 32),
}


@pytest.mark.parametrize("name", SCRATCHPADS)
def test_a_scratchpad_is_block_rams_and_nothing_else(name, tmp_path):
    depth, width, granularity, brams = SCRATCHPADS[name]
    pad = Scratchpad(depth, width, granularity, 1, 1)
    (tmp_path / "pad.v").write_text(convert(pad, "pad"))
    script = f"{synth.mapping('scratchpad', 'ecp5', 'pad')}; tee -q -o stat.json stat -json"
    assert tools.run("yosys", ["-p", script], tmp_path, "log.txt") is None
    cells = json.loads((tmp_path / "stat.json").read_text())["design"]["num_cells_by_type"]
    found = synth.count("ecp5", cells)
    assert found["brams"] == brams
    # write enables, and no multiplexer: no RAM lies behind another one
    assert found["luts"] <= width // granularity
    # what is written, where, and its enables; the output register, which rtl.flow.absorb moves into
    # the block RAMs
    assert found["ffs"] == width + (depth - 1).bit_length() + width // granularity + width
