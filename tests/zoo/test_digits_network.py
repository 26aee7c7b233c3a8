"""Accuracy of the built-in network under the hardware model."""

import numpy as np
import pytest

from fqvit_hw import QuantizedModel
from fqvit_hw.data import digits

pytest.importorskip("torch", reason="accuracy needs torch")


def test_the_checked_in_networks_meet_their_targets():
    """Float at least 96 %; integers within 0.6 points of it on the 360 held-out images."""
    from fqvit_hw.zoo.digits import float_top1, load

    images, labels = digits.test_set()
    assert len(images) == 360
    real = float_top1(load())
    integer = np.mean(QuantizedModel.load(digits.NETWORK_FILE).run(images).argmax(1) == labels)
    assert real >= 0.96
    assert integer >= real - 0.006


def test_the_split_keeps_test_images_out_of_training():
    (train, _), (test, _) = digits.train_set(), digits.test_set()
    assert len(train) + len(test) == 1797
    assert not {x.tobytes() for x in train} & {x.tobytes() for x in test}


def test_the_checked_in_network_is_what_calibration_makes(tmp_path):
    """Ranges come from float sums, whose last bits differ between machines: nearly the same."""
    from fqvit_hw import quantize
    from fqvit_hw.zoo.digits import load

    images = digits.test_set()[0]
    stored = QuantizedModel.load(digits.NETWORK_FILE)
    made = quantize(load(), digits.train_set()[0], digits.CONFIG, mean=digits.MEAN, std=digits.STD)
    a, b = (m.run(images) * m.logit_scale for m in (stored, made))
    assert np.mean(a.argmax(1) == b.argmax(1)) > 0.99
    assert ((a - b) ** 2).sum() < 0.01 * (a**2).sum()
