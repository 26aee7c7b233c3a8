"""fqvit_hw.rtl.flow.history: a line for each block and commit, in the order of the commits."""

import json
import subprocess

import pytest

from fqvit_hw.rtl.flow import history
from fqvit_hw.rtl.flow.estimate import Estimate


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_results_of_commits_follow_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "cycles", lambda config: 1234)
    path = tmp_path / "results" / "timing.jsonl"
    softmax = Estimate("softmax", "tiny", ns=9.5, fmax=105.3, luts=100)
    whole = Estimate("accelerator", "tiny", ns=12.0, fmax=83.3, luts=900, ffs=500)
    failed = Estimate("gelu", "tiny", failure="yosys: ERROR: no")
    history.record([softmax, whole, failed], path, "a1")
    history.record([softmax], path, "b2")
    history.record([Estimate("softmax", "tiny", ns=8.5)], path, "b2")  # again
    found = lines(path)
    assert [(f["commit"], f["block"], f["ns"]) for f in found] == [
        ("a1", "softmax", 9.5), ("a1", "accelerator", 12.0), ("b2", "softmax", 8.5),
    ]  # fmt: skip
    assert [f["cycles"] for f in found] == [None, 1234, None]
    assert found[1]["luts"] == 900 and found[1]["ffs"] == 500


def test_cycles_are_those_of_deit_tiny():
    assert 5_000_000 < (history.cycles("ecp5_85k") or 0) < 20_000_000


@pytest.mark.parametrize(("returncode", "named"), [(0, "1a2b3c+"), (128, "")])
def test_the_commit_is_that_of_git(returncode, named, monkeypatch):
    done = subprocess.CompletedProcess([], returncode, stdout="1a2b3c+\n")
    monkeypatch.setattr(history.subprocess, "run", lambda *command, **how: done)
    assert history.commit() == named
