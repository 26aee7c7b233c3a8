"""DeiT-Tiny with real weights on 400 ImageNet validation images: the thresholds of the project."""

import json
from pathlib import Path

import pytest

from fqvit_hw.commands import cli

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
    arguments += ["--data", str(SHARED / "imagenet"), "--json", str(out)]
    assert cli.main(arguments) == 0
    report = json.loads(out.read_text())
    assert report["images"] == 400
    assert report["float"]["top1"] > 0.75  # near 80 %: the labels are right
    runs = {run["configuration"]: run for run in report["runs"]}
    best = runs["best"]["integer"]
    assert best["top1"] >= report["float"]["top1"] - 0.015
    assert best["agreement"] >= 0.96
    assert best["logit_snr_db"] >= 14
    assert runs["paper-884"]["integer"]["logit_snr_db"] >= 10
    assert runs["paper-888"]["integer"]["logit_snr_db"] >= 12
    # the simulation as its authors' code was measured: 10.7 dB and 13.4 dB
    assert runs["paper-884"]["reference"]["logit_snr_db"] == pytest.approx(10.7, abs=0.5)
    assert runs["paper-888"]["reference"]["logit_snr_db"] == pytest.approx(13.4, abs=0.5)
