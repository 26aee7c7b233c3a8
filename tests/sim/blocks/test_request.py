"""sim.blocks.request: what the runner asks reaches the simulator's process, and by no other way."""

from __future__ import annotations

from pathlib import Path

from fqvit_hw.places import GOLDEN, SIM
from fqvit_hw.sim.blocks.request import Request, golden_folder


def test_a_request_goes_through_the_environment(monkeypatch):
    request = Request("gelu", "lanes5_w8", "small", "results.jsonl", case="index8", flip=True)
    for name, value in request.environment.items():
        monkeypatch.setenv(name, value)
    assert Request.from_environment() == request


def test_golden_vectors_of_another_folder(monkeypatch):
    monkeypatch.delenv("FQVIT_GOLDEN", raising=False)
    assert golden_folder() == GOLDEN
    monkeypatch.setenv("FQVIT_GOLDEN", "elsewhere")
    assert golden_folder() == Path("elsewhere")


def test_one_place_reads_the_environment():
    readers = {path.name for path in (SIM / "blocks").glob("*.py") if "environ[" in path.read_text()
               or "environ.get" in path.read_text()}  # fmt: skip
    assert readers == {"request.py", "runner.py"}  # the runner hands PYTHONPATH on
