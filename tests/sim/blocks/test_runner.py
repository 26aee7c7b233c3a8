"""fqvit_hw.sim.blocks.runner: errors of the user, and results that look passed but are not."""

from __future__ import annotations

import pytest

from fqvit_hw.sim.blocks.runner import (
    TESTS,
    configurations,
    junit_failure,
    require_icarus,
    run_bench,
)

CONFIG = configurations("requantize", "small")[0]


def fake_icarus(folder, text: str) -> None:
    script = folder / "iverilog"
    script.write_text(f"#!/bin/sh\necho '{text}'\n")
    script.chmod(0o755)


def test_missing_simulator(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"Icarus Verilog .* is missing") as error:
        run_bench("requantize", CONFIG, folder=tmp_path / "bench")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "bench").exists()  # nothing half written


@pytest.mark.parametrize("text", ["Icarus Verilog version 10.3 (stable)", "what?", ""])
def test_simulator_too_old(tmp_path, monkeypatch, text):
    fake_icarus(tmp_path, text)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="11 or newer is needed, found: ") as error:
        require_icarus()
    assert "\n" not in str(error.value)


def test_newer_simulator_is_fine(tmp_path, monkeypatch):
    fake_icarus(tmp_path, "Icarus Verilog version 13.0 (devel)")
    monkeypatch.setenv("PATH", str(tmp_path))
    require_icarus()


def test_unknown_block():
    with pytest.raises(ValueError, match="unknown block 'adder'; there are requantize, "):
        run_bench("adder", "lanes1")


def test_unknown_configuration(tmp_path):
    with pytest.raises(ValueError, match=f"unknown configuration 'lanes0' .* are .*{CONFIG}"):
        run_bench("requantize", "lanes0", folder=tmp_path / "bench")
    assert not (tmp_path / "bench").exists()


def test_comparing_nothing_fails(tmp_path):
    result = run_bench("requantize", CONFIG, case="no such case", folder=tmp_path / "bench")
    assert "compared nothing" in result.failure
    assert (result.beats, result.cases) == (0, [])


def test_one_case(tmp_path):
    result = run_bench("requantize", CONFIG, case="random_7", folder=tmp_path / "bench")
    assert result.passed and result.beats > 0
    assert [case["case"] for case in result.cases] == ["random_7"] * len(TESTS)


def test_mutation_without_effect(tmp_path):
    with pytest.raises(ValueError, match="changed nothing"):
        run_bench("requantize", CONFIG, mutate=lambda text: text, folder=tmp_path / "bench")


def test_verilog_that_does_not_compile(tmp_path):
    result = run_bench(
        "requantize", CONFIG, mutate=lambda text: f"{text}\nwhat is this", folder=tmp_path / "bench"
    )
    assert result.failure.startswith("simulator failed") and result.beats == 0


def results(tmp_path, names, inside=None):
    """A results file as cocotb writes it; `inside` goes into the first test case."""
    cases = [
        f'<testcase name="{n}">{"" if k else inside or ""}</testcase>' for k, n in enumerate(names)
    ]
    path = tmp_path / "results.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return path


def test_junit_passed(tmp_path):
    assert junit_failure(results(tmp_path, TESTS)) is None
    assert junit_failure(results(tmp_path, [f"sim.blocks.bench.{name}" for name in TESTS])) is None


def test_junit_missing_file(tmp_path):
    assert "did not finish" in junit_failure(tmp_path / "results.xml")


@pytest.mark.parametrize(
    "names", [(), TESTS[:2], (*TESTS, TESTS[0]), (*TESTS[:2], "other")], ids=len
)
def test_junit_other_tests(tmp_path, names):
    assert junit_failure(results(tmp_path, names)).startswith("expected tests")


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ('<failure error_msg="beat 3 differs"/>', "steady: beat 3 differs"),
        ('<failure message="beat 3 differs"/>', "steady: beat 3 differs"),
        ("<error>lost</error>", "steady: lost"),
        ("<skipped/>", "steady: skipped"),
    ],
)
def test_junit_not_passed(tmp_path, inside, message):
    assert junit_failure(results(tmp_path, TESTS, inside)) == message
