"""Ray: the records of a single process, also when a worker is lost; clusters that are not there."""

import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fqvit_hw import PRESETS
from fqvit_hw.accuracy import cluster
from fqvit_hw.accuracy.evaluate import Evaluator
from fqvit_hw.accuracy.summary import summarize
from fqvit_hw.commands import cli
from fqvit_hw.data.batches import chunks, read_batch
from fqvit_hw.data.imagenet import Arrays
from fqvit_hw.errors import UserError
from tests.folders import assert_same_records
from tests.models import MEAN, STD, random_images, tiny_quantized, tiny_vit

torch = pytest.importorskip("torch", reason="the float model runs in torch")
pytest.importorskip("ray", reason="Ray is an extra")
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own


@dataclass(frozen=True)
class Deadly(Arrays):
    """Kills the process that reads image 5 for the first time."""

    marker: Path = Path()

    def read(self, index: int) -> np.ndarray:
        if index == 5 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(index)


def test_a_lost_worker_changes_nothing(tmp_path, monkeypatch):
    from fqvit_hw.reference import build_reference

    # workers import this module to unpickle Deadly
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    model = tiny_vit(seed=1)
    networks = {name: tiny_quantized(model, PRESETS[name]) for name in list(PRESETS)[:2]}
    simulations = {
        "s": build_reference(model, random_images(16), PRESETS["paper-884"], mean=MEAN, std=STD)
    }
    evaluator = Evaluator(model, networks, simulations, MEAN, STD)
    images, files = random_images(20, seed=2), tuple(f"x/{i}" for i in range(20))
    source = Deadly(files, tuple(i % 5 for i in range(20)), images, None, tmp_path / "died")
    indices = chunks(range(20), 3)
    got = [
        r for batch in cluster.score_on_cluster(evaluator, source, indices, "local") for r in batch
    ]
    assert source.marker.exists()
    expected = [r for part in indices for r in evaluator.score(read_batch(source, part))]
    assert len(got) == 20
    header = {
        "model": "m",
        "columns": list(expected[0]["top5"]),
        "configurations": {name: {} for name in networks},
        "simulations": dict.fromkeys(networks, "s"),
    }
    single, spread = summarize(header, expected), summarize(header, got)
    for a, b in zip(single["runs"], spread["runs"], strict=True):
        counts = ("images", "top1", "top5", "agreement", "only_float_right", "only_this_right")
        for kind in ("integer", "reference"):
            assert all(a[kind][c] == b[kind][c] for c in counts)
    assert_same_records(got, expected)


def refused(capsys, address) -> str:
    assert cli.main(["accuracy", "--model", "digits", "--no-reference", "--ray", address]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1 and err[0].startswith("fqvit-hw: error: --ray"), err
    return err[0]


def test_a_cluster_that_is_not_there(capsys, monkeypatch):
    for address in ("nonsense", "http://x:1", "ray://x:1", "host:port", ":6379"):
        assert "expected HOST:PORT, auto or local" in refused(capsys, address)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(cluster, "HANDSHAKE_SECONDS", 2)
        assert "does not answer as a Ray cluster" in refused(capsys, f"127.0.0.1:{port}")
    assert "refused" in refused(capsys, f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("said", "why"),
    [("RPC error: InvalidAuthToken: ...", "RAY_AUTH_MODE=token"), ("boom", "does not answer")],
)
def test_why_a_cluster_refuses(monkeypatch, said, why):
    script = f"import sys; print({said!r}, file=sys.stderr); sys.exit(1)"
    monkeypatch.setattr(cluster, "HANDSHAKE", script)
    assert why in cluster.why_no_handshake("127.0.0.1:1")
    monkeypatch.setattr(cluster, "HANDSHAKE", "import sys; assert sys.argv[1] == '127.0.0.1:1'")
    assert cluster.why_no_handshake("127.0.0.1:1") is None


def test_no_cluster_on_this_machine(capsys, monkeypatch):
    monkeypatch.setattr(cluster, "HANDSHAKE", "raise SystemExit('could not find any running Ray')")
    assert "--ray auto: the Ray cluster cannot be reached" in refused(capsys, "auto")


def test_a_cluster_without_the_gpu_that_is_asked_for():
    """Its tasks would wait for ever."""
    model = tiny_vit(seed=1)
    evaluator = Evaluator(model, {}, {}, MEAN, STD, None, "cuda:0")
    source = Arrays(("x/0",), (0,), random_images(1), None)
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="--device cuda:0: the Ray cluster has no GPU"):
        list(cluster.score_on_cluster(evaluator, source, chunks(range(1), 1), "local"))
