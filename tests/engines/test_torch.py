"""The torch engine on CPU tensors: every tensor of whole networks equals the specification."""

import numpy as np
import pytest

from fqvit_hw import PRESETS, QuantConfig, QuantizedModel, digits

from ..models import SWIN_SHAPE, random_images, tiny_quantized, tiny_quantized_swin
from .same import assert_same

pytest.importorskip("torch", reason="the torch engine needs torch")

CONFIGS = {**PRESETS, "16-bit, uniform8": QuantConfig(stream_width=16, attention="uniform8")}


@pytest.mark.parametrize("name", CONFIGS)
def test_vit(name):
    assert_same(tiny_quantized(config=CONFIGS[name]), random_images(5, seed=3), engine="torch")


@pytest.mark.parametrize("name", CONFIGS)
def test_swin(name):
    images = random_images(3, seed=3, shape=SWIN_SHAPE)
    assert_same(tiny_quantized_swin(config=CONFIGS[name]), images, engine="torch")


def test_features_of_another_size():
    qm = tiny_quantized_swin()
    images = random_images(2, seed=4, shape=(3, 31, 27))
    for ours, spec in zip(
        qm.features(images, engine="torch"), qm.features(images, engine="numpy"), strict=True
    ):
        np.testing.assert_array_equal(ours.codes, spec.codes)


def test_digits():
    qm = QuantizedModel.load(digits.NETWORK_FILE)
    assert_same(qm, digits.test_set()[0][:40], engine="torch")


def test_a_flipped_bit_is_seen():
    """The comparison is trusted because it fails when one weight differs in one bit."""
    from dataclasses import replace

    qm = tiny_quantized()
    head = qm.network.head
    weight = head.weight.copy()
    weight[0, 0] ^= 1
    other = replace(qm, network=replace(qm.network, head=replace(head, weight=weight)))
    images = random_images(5, seed=3)
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(
            qm.run(images, engine="numpy"), other.run(images, engine="torch")
        )


def test_a_device_that_is_not_there():
    import torch

    qm = QuantizedModel.load(digits.NETWORK_FILE)
    images = digits.test_set()[0][:1]
    with pytest.raises(ValueError, match="device 'nonsense' is not available here"):
        qm.run(images, device="nonsense")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device 'cuda' is not available here"):
            qm.run(images, device="cuda")
    with pytest.raises(ValueError, match="engine 'numpy' runs on the CPU only"):
        qm.run(images, engine="numpy", device="cuda")


@pytest.mark.skipif("not __import__('torch').cuda.is_available()", reason="no CUDA device here")
def test_cuda():
    assert_same(tiny_quantized(), random_images(5, seed=3), engine="torch", device="cuda")
    images = random_images(3, seed=3, shape=SWIN_SHAPE)
    assert_same(tiny_quantized_swin(), images, engine="torch", device="cuda")
