"""`make perf`: the counters of one run, what they are checked against, and what is reported."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fqvit_hw.machine.hardware import TINY
from fqvit_hw.sim.networks import known as networks
from fqvit_hw.sim.networks.verilated import build
from fqvit_hw.sim.perf import command as perf
from fqvit_hw.sim.perf import run as perf_run
from fqvit_hw.sim.perf.chart import BUSY, layers, layers_png

needs_verilator = pytest.mark.skipif(
    shutil.which("verilator") is None or shutil.which("g++") is None,
    reason="verilator or g++ is missing: run `make setup`",
)


@pytest.fixture(scope="module")
def measured() -> perf_run.Measured:
    qm, images = networks.built_in()
    machine = build(TINY, trace=True, quick=True)
    return perf_run.measure(
        perf_run.Case("digits", TINY), qm, images[0], machine, (100.0, "assumed")
    )


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    qm, images = networks.built_in()
    return qm.run(images[:1])[0]


@needs_verilator
def test_the_counters_are_what_compiler_model_and_trace_say(measured, logits):
    assert perf_run.problems(measured, logits) == []
    report = measured.report
    assert report["busy"] == 150448
    assert abs(report["model_error"]) < perf_run.MODEL_ERROR
    assert 0.97 < report["utilization"] < report["busy"] / report["cycles"]
    assert report["busy"] + sum(report["stalled"].values()) == report["cycles"]
    assert json.loads(json.dumps(report)) == report


@needs_verilator
@pytest.mark.parametrize("counter, named", [
    ("array_busy", "busy: the counter says 150449, the compiler's beats 150448"),
    ("bytes_written", "bytes written"),
    ("weight_bytes", "bytes of weights"),
    ("epilogue", "epilogue"),
])  # fmt: skip
def test_a_counter_that_is_one_off_is_named(measured, logits, counter, named):
    counters = measured.run.counters | {counter: measured.run.counters[counter] + 1}
    found = perf_run.problems(
        replace(measured, run=replace(measured.run, counters=counters)), logits
    )
    assert found and all(named.split(":")[0] in line for line in found)
    assert any(line.startswith(named) for line in found)


@needs_verilator
def test_a_wrong_logit_or_a_model_that_is_off_is_named(measured, logits):
    (line,) = perf_run.problems(measured, logits + (np.arange(10) == 3))
    assert "logits of image[0, 3]" in line
    model = copy.copy(measured.model)
    object.__setattr__(model, "cycles", round(1.02 * measured.model.cycles))
    (line,) = perf_run.problems(replace(measured, model=model), logits)
    assert line.startswith("the cycle model says")


@needs_verilator
def test_every_cycle_belongs_to_a_layer(measured):
    sums = layers(measured)
    assert sum(sums.values()).sum() == measured.report["cycles"]
    assert sum(sums.values())[BUSY] == measured.report["busy"]
    parts = ["qkv", "attention", "proj", "mlp"]
    blocks = [(f"block {n}", part) for n in range(4) for part in parts]
    assert list(sums) == [("start", ""), ("patch_embed", ""), *blocks, ("head", "")]
    assert layers_png(measured).startswith(b"\x89PNG")


def test_the_clock_is_given_routed_or_assumed(tmp_path, monkeypatch):
    monkeypatch.setattr(perf_run, "BUILD", tmp_path)
    assert perf_run.clock_of("base", None) == (perf_run.CLOCK, "assumed")
    routed = {"block": "accelerator", "config": "base", "fmax": 61.5, "failure": None}
    failed = routed | {"config": "large", "failure": "too large"}
    (tmp_path / "pnr.json").write_text(json.dumps([routed | {"block": "gelu"}, routed, failed]))
    assert perf_run.clock_of("base", None) == (61.5, "make pnr")
    assert perf_run.clock_of("base", 250.0) == (250.0, "given")
    assert perf_run.clock_of("large", None) == (perf_run.CLOCK, "assumed")


def test_all_runs_every_network_and_configuration_once():
    cases = perf.everything()
    names = [(case.network, case.name) for case in cases]
    assert len(set(names)) == len(names)
    assert len({case.hw.name for case in cases}) == 5  # base with half the bus is a fifth machine
    tried = {(case.network, case.latency, case.hw.bus) for case in cases if case.hw.rows == 16}
    assert {("deit_tiny", n, 128) for n in (20, 100, 200)} | {("deit_tiny", 100, 64)} <= tried


@pytest.mark.parametrize("arguments, complaint", [
    (["--all", "--config", "base"], "--all and --config exclude each other"),
    (["--network", "digits", "--weights", "w"], "--weights belongs to"),
    (["--latency", "0"], "--latency: expected at least 1"),
    (["--clock", "nan"], "--clock: expected at least 1"),
    (["--config", "huge"], "--config"),
])  # fmt: skip
def test_mistakes_are_one_line(capsys, arguments, complaint):
    assert perf.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("perf: ") and complaint in lines[0]
