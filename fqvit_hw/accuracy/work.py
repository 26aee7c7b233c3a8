"""What an evaluation starts from: a float model, images to calibrate on, images to score."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data import digits
from ..data.imagenet import Arrays, Validation
from ..errors import UserError

CALIBRATION_IMAGES = 100


@dataclass
class Work:
    """calibration: uint8 (B, C, H, W); source: Validation or Arrays; mean, std: per channel.

    skipped: files of the calibration that could not be read
    """

    model: object
    calibration: np.ndarray
    source: Validation | Arrays
    mean: tuple
    std: tuple
    skipped: list[str]


def tell_default_engine() -> None:
    """One line on stderr where the default engine is numpy for want of a compiler."""
    from ..engines import fast

    if why := fast.available():
        print(f"fqvit-hw: the numpy engine runs, many times slower: {why}", file=sys.stderr)


def prepare(
    model: str,
    weights: Path | None = None,
    data: Path | None = None,
    calibration: Path | None = None,
    calibration_images: int = CALIBRATION_IMAGES,
) -> Work:
    """model: "digits", which brings everything itself, or a name of the zoo.

    data: see imagenet.find_validation; calibration: a folder, by default data/train, of which
    `calibration_images` are read, evenly spread. Raises UserError for what is missing or wrong.
    """
    if model == "digits":
        if weights or data or calibration:
            raise UserError(
                "digits brings its own weights and images: no --weights, --data, --calibration"
            )
        return prepare_digits(calibration_images)
    if data is None:
        raise UserError(f"{model} needs --data DIR, a folder with val/<synset>/*.JPEG")
    from ..timm_compat import import_timm

    import_timm()
    from ..calibrate import preprocessing
    from ..data.imagenet import find_validation, load_calibration
    from ..data.images import Preprocessing
    from ..zoo.models import load_model

    net = load_model(model, weights)
    pixels = Preprocessing.of_model(net)
    source = find_validation(data, pixels)
    found = load_calibration(data, calibration, calibration_images, pixels, source)
    mean, std = preprocessing(net, None, None)
    return Work(net, found.images, source, mean, std, found.skipped)


def prepare_digits(calibration_images: int) -> Work:
    from ..calibrate import spaced
    from ..data.imagenet import Arrays
    from ..data.images import Preprocessing
    from ..zoo.digits import load

    images, labels = digits.test_set()
    files = tuple(f"digits/{i * digits.TEST_EVERY}" for i in range(len(labels)))
    source = Arrays(files, tuple(labels.tolist()), images, Preprocessing((8, 8), 1))
    calibration = spaced(digits.train_set()[0], calibration_images)
    return Work(load(), calibration, source, digits.MEAN, digits.STD, [])


def choose(source, limit: int | None) -> list[int]:
    """Indices into source.files: all, or `limit` evenly spread ones, in order."""
    from ..data.imagenet import spread

    everything = range(len(source.files))
    return sorted(spread(everything, limit)[:limit]) if limit else list(everything)
