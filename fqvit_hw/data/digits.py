"""scikit-learn's 1,797 handwritten digits as uint8 images, with a fixed split. No torch."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..config import PRESETS

HERE = Path(__file__).parent
FLOAT_FILE = HERE / "digits.float.safetensors"
NETWORK_FILE = HERE / "digits.safetensors"
MEAN, STD = (0.5,), (0.5,)
# The built-in network has an int8 residual stream, so that golden/ shows PTF at work.
CONFIG = replace(
    PRESETS["best"],
    exponential="exact",
    stream_width=8,
    observer="minmax",
    calibration_images=1437,
    fold_positions=False,
    fold_values=False,
    fold_norms=False,
    bias_correction=False,
    weight_rounding="nearest",
)
TEST_EVERY = 5  # images 0, 5, 10, ...: 360 for the test, 1,437 for training and calibration


@functools.cache
def _load() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data: Any = load_digits()  # a Bunch; its type allows for the tuple of return_X_y=True
    grey = data.images.astype(np.int32)  # 0..16, (1797, 8, 8)
    pixels = ((grey * 255 + 8) // 16).astype(np.uint8)  # rounded half up
    return pixels[:, None], data.target.astype(np.int64)


def _is_test() -> np.ndarray:
    return np.arange(len(_load()[1])) % TEST_EVERY == 0


def train_set() -> tuple[np.ndarray, np.ndarray]:
    """uint8 (1437, 1, 8, 8) and labels int64 (1437,): for training and calibration."""
    images, labels = _load()
    return images[~_is_test()], labels[~_is_test()]


def test_set() -> tuple[np.ndarray, np.ndarray]:
    """uint8 (360, 1, 8, 8) and labels int64 (360,): never trained on, never calibrated on."""
    images, labels = _load()
    return images[_is_test()], labels[_is_test()]
