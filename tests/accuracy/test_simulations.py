"""The paper's simulations: on the very images that their configurations calibrate on."""

from dataclasses import replace

import numpy as np
import pytest

from fqvit_hw import PRESETS
from fqvit_hw.accuracy.simulations import simulation_names, simulations

CONFIGS = {
    "paper-884": PRESETS["paper-884"],
    "best": PRESETS["best"],
    "few": replace(PRESETS["paper-884"], calibration_images=16),
}


def test_names():
    """Configurations share a simulation, but not one of other calibration images."""
    two = {name: CONFIGS[name] for name in ("paper-884", "best")}
    assert simulation_names(two) == dict.fromkeys(two, "minmax 8/8/4")
    images = PRESETS["best"].calibration_images
    assert simulation_names(CONFIGS) == {
        "paper-884": f"minmax 8/8/4, {images} images",
        "best": f"minmax 8/8/4, {images} images",
        "few": "minmax 8/8/4, 16 images",
    }
    assert list(simulations(CONFIGS)) == list(dict.fromkeys(simulation_names(CONFIGS).values()))


def test_calibration_images():
    pytest.importorskip("torch", reason="the simulation runs in torch")
    from fqvit_hw.accuracy.measurement import calibrate
    from fqvit_hw.accuracy.options import Options
    from fqvit_hw.accuracy.work import prepare_digits
    from fqvit_hw.calibrate import spaced
    from fqvit_hw.reference import build_reference

    work = prepare_digits(PRESETS["best"].calibration_images)
    evaluator = calibrate(Options("digits", CONFIGS), work)
    images, logits = work.source.images[:4], {}
    for name, config in CONFIGS.items():
        reference = build_reference(
            work.model, spaced(work.calibration, config.calibration_images), config,
            mean=work.mean, std=work.std,
        )  # fmt: skip
        logits[name] = reference.run(images)
        found = evaluator.references[simulation_names(CONFIGS)[name]]
        np.testing.assert_array_equal(found.run(images), logits[name])
    assert np.any(logits["few"] != logits["paper-884"])
