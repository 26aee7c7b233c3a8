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
    arguments += ["--data", str(SHARED / "imagenet"), "--json", str(out)]
    assert cli.main(arguments) == 0
    default, paper = json.loads(out.read_text())["runs"]
    assert default["images"] == paper["images"] == 400
    assert default["float_top1"] > 0.75  # near 80 %: the labels are right
    assert default["integer_top1"] >= default["float_top1"] - 0.015
    assert default["agreement"] >= 0.94
    assert default["logit_snr_db"] >= 12
    assert paper["logit_snr_db"] >= 10
