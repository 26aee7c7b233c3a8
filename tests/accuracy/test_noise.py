"""Noise by layer, attention codes, ranges and factors of a few images."""

from dataclasses import replace

import numpy as np
import pytest

from fqvit_hw import PRESETS
from fqvit_hw.accuracy.evaluate import Evaluator
from fqvit_hw.accuracy.noise import code_counts, measure
from fqvit_hw.attention_codes import MODES, UNIFORM8
from tests.models import MEAN, STD, float_tensors, random_images, tiny_quantized, tiny_vit

pytest.importorskip("torch", reason="the float model runs in torch")
CONFIGS = {
    "eight": PRESETS["paper-884"],
    "sixteen": replace(PRESETS["paper-888"], stream_width=16),
}


@pytest.fixture(scope="module")
def evaluator():
    model = tiny_vit(seed=1)
    networks = {name: tiny_quantized(model, config) for name, config in CONFIGS.items()}
    return Evaluator(model, networks, {}, MEAN, STD)


@pytest.fixture(scope="module")
def layers(evaluator):
    return measure(evaluator, random_images(5, seed=4))


def test_the_noise_of_a_layer_is_that_of_its_codes(evaluator, layers):
    images = random_images(5, seed=4)
    real = float_tensors(evaluator.model, images)
    for name, qm in evaluator.networks.items():
        traces = [qm.trace(image) for image in images]
        found = layers["configurations"][name]["layer_snr_db"]
        for step in ("patch_embed", "blocks.0.attn.softmax", "blocks.1.residual2", "head"):
            got = qm.scales[step].dequantize(np.stack([t[step] for t in traces]))
            expected = real[step].numpy()
            snr = 10 * np.log10((expected**2).sum() / ((got - expected) ** 2).sum())
            assert found[step] == pytest.approx(snr, abs=1e-3)
        assert not any(step.endswith(".acc") for step in found)
    eight, sixteen = (layers["configurations"][n]["layer_snr_db"] for n in CONFIGS)
    assert sixteen["blocks.0.residual1"] > eight["blocks.0.residual1"]


def test_codes_and_factors(evaluator, layers):
    for name in evaluator.networks:
        codes = layers["configurations"][name]["attention_codes"]
        assert list(codes) == ["blocks.0.attn.softmax", "blocks.1.attn.softmax"]
        assert all(sum(c) == 5 * 3 * 7 * 7 for c in codes.values())  # images, heads, tokens
    trace = np.stack(
        [
            evaluator.networks["eight"].trace(i)["blocks.1.attn.softmax"]
            for i in random_images(5, seed=4)
        ]
    )
    counted = layers["configurations"]["eight"]["attention_codes"]["blocks.1.attn.softmax"]
    assert counted == [int(np.sum(trace == c)) for c in range(16)]
    factors = layers["configurations"]["eight"]["ptf_factors"]
    assert list(factors) == [
        "embed",
        "blocks.0.residual1",
        "blocks.0.residual2",
        "blocks.1.residual1",
        "blocks.1.residual2",
    ]
    block = evaluator.networks["eight"].network.blocks[1]
    assert factors["blocks.1.residual2"] == block.residual2.factor.tolist()
    assert layers["configurations"]["sixteen"]["ptf_factors"] == {}


def test_ranges(layers):
    assert layers["images"] == 5
    assert len(layers["ranges"]) == 5 and len(layers["ranges"]["embed"]["low"]) == 24
    for bounds in layers["ranges"].values():
        assert all(low < high for low, high in zip(bounds["low"], bounds["high"], strict=True))


def test_eight_bit_probabilities_are_counted_at_the_nearest_power_of_two():
    codes = np.array([255, 128, 64, 90, 1, 0, 0], np.uint8)
    counts = code_counts(UNIFORM8, codes, codes / 255)
    # 255/255 = 1; 128/255 and 90/255 = 2^-1.0, 2^-1.5; 64/255 = 2^-2.0; 1/255 = 2^-8.0
    assert {c: n for c, n in enumerate(counts) if n} == {0: 1, 1: 1, 2: 2, 8: 1, 15: 2}


@pytest.mark.parametrize("mode", ["max4", "lis4"])
def test_four_bit_codes_are_counted_as_they_are(mode):
    codes = np.array([[0, 3, 15], [15, 3, 15]], np.uint8)
    counts = code_counts(MODES[mode], codes, np.ones(codes.shape))
    assert {c: n for c, n in enumerate(counts) if n} == {0: 1, 3: 2, 15: 3}


def test_switches_without_factors(evaluator):
    qm = evaluator.networks["eight"]
    flat = replace(qm, config=replace(qm.config, ptf=False))
    found = measure(replace(evaluator, networks={"x": flat}), random_images(1))
    assert found["configurations"]["x"]["ptf_factors"] == {}
