"""DeiT-Tiny with real weights on 400 ImageNet validation images: the thresholds of the project."""

import json
from pathlib import Path

import pytest

from fqvit_hw import cli

SHARED = Path(__file__).parents[2] / "shared" / "data"
WEIGHTS = SHARED / "deit_tiny_patch16_224.safetensors"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WEIGHTS.exists(), reason=f"no real weights at {WEIGHTS}"),
]


def test_deit_tiny_reaches_its_thresholds(tmp_path):
    pytest.importorskip("torch", reason="accuracy needs torch")
    out = tmp_path / "accuracy.json"
    arguments = ["accuracy", "--model", "deit_tiny_patch16_224", "--weights", str(WEIGHTS)]
    arguments += ["--data", str(SHARED / "imagenet"), "--json", str(out), "--no-reference"]
    assert cli.main(arguments) == 0
    summary = json.loads(out.read_text())
    assert summary["images"] == 400
    real = summary["float"]["top1"]
    assert real > 0.75  # near 80 %: the labels are right
    runs = {run["configuration"]: run["integer"] for run in summary["runs"]}
    best = runs["best"]
    assert best["top1"] >= real - 0.015
    assert best["agreement"] >= 0.96
    assert best["logit_snr_db"] >= 14
    assert runs["paper-888"]["logit_snr_db"] > runs["paper-884"]["logit_snr_db"] >= 10
