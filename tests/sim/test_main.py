"""`python -m sim`: exit statuses, the table, JUnit, and no torch."""

import argparse
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

import fqvit_hw.sim.__main__ as command
from fqvit_hw.sim.blocks.runner import Result


def call(*arguments, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "fqvit_hw.sim", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--block", "nope"], "unknown block 'nope'; there are requantize, "),
        (["--block", "requantize", "--config", "huge"], "unknown configuration 'huge' of requant"),
        (["--block", "requantize", "--case", "nope"], "unknown case 'nope' of requantize; there "),
        (["--case", "random_7"], "a case needs its block"),
        (["--size", "medium"], "unknown size 'medium'; there are full, small"),
    ],
)
def test_a_mistake_is_one_line(arguments, message):
    done = call(*arguments)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not done.stdout


def test_a_missing_simulator_is_one_line(tmp_path):
    done = call("--block", "requantize", PATH=str(tmp_path))
    assert done.returncode == 2
    assert "Icarus Verilog (iverilog) is missing" in done.stderr and done.stderr.count("\n") == 1


def test_an_old_simulator_is_one_line(tmp_path):
    program = tmp_path / "iverilog"
    program.write_text("#!/bin/sh\necho Icarus Verilog version 10.3\n")
    program.chmod(0o755)
    done = call("--block", "requantize", PATH=f"{tmp_path}:/bin")
    assert done.returncode == 2
    assert "Icarus Verilog 11 or newer is needed" in done.stderr and done.stderr.count("\n") == 1


def test_a_run_compares_draws_waves_and_needs_no_torch(tmp_path):
    poison = tmp_path / "poison"
    poison.mkdir()
    trace = poison / "imported"
    (poison / "torch.py").write_text(
        f"open({str(trace)!r}, 'w').close()\nraise ImportError('torch is not for the simulation')\n"
    )
    out = tmp_path / "out"
    done = call(
        *("--block", "requantize", "--config", "lanes5_w8", "--case", "random_7"),
        *("--size", "small", "--waves", "--out", str(out)),
        PYTHONPATH=str(poison),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not trace.exists()
    waves = out / "requantize" / "lanes5_w8" / "requantize.fst"
    assert waves.stat().st_size and str(waves) in done.stdout
    (case,) = ET.parse(out / "results.xml").getroot().iter("testcase")
    assert case.get("name") == "lanes5_w8" and case.find("failure") is None
    assert "1 benches passed, 0 failed" in done.stdout


def test_all_bench_modules_load_without_torch():
    code = (
        "import sys, fqvit_hw.sim.__main__ as m\n"
        "for block in m.BLOCKS: m.block_module(block)\n"
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def fake_run_all(*results):
    def run_all(jobs, options, report):
        for job, result in zip(jobs, results, strict=True):
            result.block, result.config = job
            report(result)

    return run_all


def test_a_failure_is_exit_1_and_in_the_table_and_in_junit(tmp_path, monkeypatch, capsys):
    bad = Result("", "", failure="steady: beat 3: \x1b[31mexpected <1>, got 2; log /x/log.txt")
    good = Result("", "", beats=7, cycles=9, seconds=1.5)
    monkeypatch.setattr(command, "run_all", fake_run_all(bad, good))
    arguments = ["--block", "requantize", "--size", "small", "--out", str(tmp_path)]
    assert command.main(arguments) == 1
    text = capsys.readouterr().out
    assert "FAIL" in text and "pass" in text and "/x/log.txt" in text
    root = ET.parse(tmp_path / "results.xml").getroot()
    assert root.tag == "testsuites" and root.get("failures") == "1" and root.get("tests") == "2"
    (failure,) = root.iter("failure")
    assert "expected <1>, got 2" in failure.text
    assert not list(tmp_path.glob("*.draft"))


def test_a_crash_of_a_bench_is_a_failure_with_its_log(tmp_path, monkeypatch):
    def crash(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr(command, "run_bench", crash)
    result = command.run(("requantize", "lanes5_w8"), tmp_path, "small", None, False)
    assert result.failure.startswith("OSError: disk full; see ")
    assert "Traceback" in (tmp_path / "requantize" / "lanes5_w8.runner.txt").read_text()


def test_a_bench_that_compared_nothing_fails(tmp_path):
    result = command.run(("requantize", "lanes5_w8"), tmp_path, "small", "no_such_case", False)
    log = tmp_path / "requantize" / "lanes5_w8" / "log.txt"
    assert not result.passed and str(log) in result.failure
    assert "the bench compared nothing" in log.read_text()


def test_case_selects_the_configurations_that_have_it():
    options = argparse.Namespace(block="requantize", config=None, case="random_7", size="small")
    assert len(command.choose(options)) == 2


def test_what_a_size_leaves_out_is_named():
    from fqvit_hw.sim.__main__ import left_out
    from fqvit_hw.sim.blocks.runner import Result

    too_long = Result("mac_array", "4x4", left_out={"block0_qkv": "13056 beats"})
    lines = left_out([Result("gelu", "lanes5_w8"), too_long])
    assert len(lines) == 1
    assert "mac_array 4x4" in lines[0] and "block0_qkv (13056 beats)" in lines[0]


def test_every_case_is_run_or_left_out_with_a_reason():
    from fqvit_hw.sim.blocks import mac_array
    from fqvit_hw.sim.blocks.golden import golden_cases

    config = mac_array.CONFIGURATIONS["8x16"]
    found = {t.name: t.left_out for t in mac_array.transactions(config, "small")}
    assert {case.name for case in golden_cases("mac_array")} <= found.keys()
    assert any(found.values()) and not all(found.values())
