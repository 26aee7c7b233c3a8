"""A small ImageNet folder, and a small model in place of timm's, for the tests of accuracy."""

from pathlib import Path

import numpy as np

from tests.models import tiny_swin, tiny_vit

SYNSETS = {"n01440764": 0, "n01443537": 1, "n02123045": 281}  # and their ImageNet-1k indices
SIZES = ((20, 31), (16, 16), (40, 25), (17, 17), (64, 64))  # mixed, also smaller than the target
NAME = "deit_tiny_patch16_224"


def image_file(path: Path, size=(20, 31), seed=0, mode="RGB") -> None:
    """A random image (smooth, so that its classes differ) of (width, height) pixels."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)


def imagenet(folder: Path, per_class=5, train=2) -> Path:
    """DATA/train and DATA/val with three synsets; returns DATA."""
    for k, synset in enumerate(SYNSETS):
        for i in range(per_class):
            image_file(
                folder / "val" / synset / f"{i}.JPEG", SIZES[i % len(SIZES)], 100 * k + i,
                "L" if i == 1 else "RGB",
            )  # fmt: skip
        for i in range(train):
            image_file(folder / "train" / synset / f"{i}.JPEG", (30, 24), 1000 + 100 * k + i)
    return folder


def small_model(weights_seed=0):
    """16 x 16 pixels, 4 patches, 1000 classes; calibrates in a second."""
    model = tiny_vit(weights_seed, img_size=(16, 16), patch_size=8, num_classes=1000)
    model.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 0.9}
    return model


def small_swin():
    """16 x 16 pixels in 8 x 8 patches, then 4 x 4, windows of 4 x 4 that shift; 1000 classes."""
    model = tiny_swin(img_size=(16, 16), num_classes=1000)
    model.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 0.9}
    return model


def use_small_model(monkeypatch, weights_seed=0, model=None) -> str:
    """Put small_model in the place of a model of timm's; returns its name."""
    import fqvit_hw.zoo.models

    model = model or small_model(weights_seed)
    monkeypatch.setattr(fqvit_hw.zoo.models, "load_model", lambda name, weights: model)
    return NAME


def assert_same_records(found: list[dict], expected: list[dict]) -> None:
    """In any order. The last bits of float sums depend on batches and threads; nothing else may."""
    import pytest

    assert len(found) == len(expected)
    found, expected = (sorted(r, key=lambda record: record["file"]) for r in (found, expected))
    for a, b in zip(found, expected, strict=True):
        sums = [{k: r.pop(k) for k in ("signal", "error") if k in r} for r in (a, b)]
        assert a == b
        assert sums[0].get("signal", 0) == pytest.approx(sums[1].get("signal", 0), rel=1e-5)
        assert sums[0].get("error", {}) == pytest.approx(sums[1].get("error", {}), rel=1e-4)
