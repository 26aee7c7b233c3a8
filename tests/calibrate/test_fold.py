"""Folds: the float model computes the same, and reports see the original model's tensors."""

from dataclasses import replace

import numpy as np
import pytest

from fqvit_hw import QuantConfig
from fqvit_hw.network.scale import Scale
from fqvit_hw.network.step import Role
from tests.models import MEAN, STD, float_tensors, random_images, tiny_quantized, tiny_vit

torch = pytest.importorskip("torch", reason="calibration needs torch")

from fqvit_hw.calibrate.float_steps import float_steps, normalize, steps_of  # noqa: E402
from fqvit_hw.calibrate.fold import fold, root  # noqa: E402

NONE = QuantConfig(fold_positions=False, fold_values=False, fold_norms=False)
BOTH = QuantConfig(fold_norms=False)  # positions and values
ALL = QuantConfig()
LAYERS = ("norm1", "qkv", "norm2")
CONFIGS = {
    "positions": replace(NONE, fold_positions=True),
    "values": replace(NONE, fold_values=True),
    "norms": replace(NONE, fold_norms=True),
    "all": ALL,
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("changes", [{}, {"qkv_bias": False, "depth": 1}])
def test_the_float_model_computes_the_same(config, changes):
    model = tiny_vit(**changes)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    images = random_images(8)
    folded, _ = fold(model, images, MEAN, STD, config)
    x = normalize(random_images(4, seed=3), MEAN, STD)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), model(x), atol=2e-5, rtol=0)
    assert folded is not model
    for name, p in model.state_dict().items():  # the user's model stays as it was
        torch.testing.assert_close(p, before[name], atol=0, rtol=0)


@pytest.mark.parametrize("size", [None, (29, 21)])
def test_a_swin_computes_the_same_at_any_size(size):
    """Padding tokens have values too: other sizes than the model's own pad their windows."""
    from tests.models import tiny_swin

    model = tiny_swin()
    own = tuple(model.patch_embed.img_size)
    folded, sizes = fold(model, random_images(6, shape=(3, *own)), MEAN, STD, ALL)
    blocks = sum(len(stage.blocks) for stage in model.layers)
    assert steps_of(model).patch_embed not in sizes
    assert len(sizes) == 3 * blocks  # qkv, context, norm2
    x = normalize(random_images(2, seed=3, shape=(3, *(size or own))), MEAN, STD)
    *_, (_, old) = float_steps(model, x)
    *_, (_, new) = float_steps(folded, x)
    torch.testing.assert_close(new, old, atol=2e-5, rtol=0)


def test_nothing_to_fold_is_no_copy():
    model = tiny_vit()
    assert fold(model, random_images(2), MEAN, STD, NONE) == (model, {})


def test_values_use_their_codes():
    """Every channel of v is centred, its magnitude the 19th of 64 powers of what it was."""
    model, images = tiny_vit(), random_images(8)
    folded, sizes = fold(model, images, MEAN, STD, BOTH)
    both = (float_steps(m, normalize(images, MEAN, STD)) for m in (model, folded))
    for (step, old), (_, new) in zip(*both, strict=True):
        if step.role is Role.QKV:
            torch.testing.assert_close(new[..., :48], old[..., :48], atol=1e-5, rtol=1e-4)
            (old_low, old_high), (low, high) = (
                torch.aminmax(x[..., 48:].flatten(0, 1), dim=0) for x in (old, new)
            )
            torch.testing.assert_close(high, -low, atol=1e-5, rtol=1e-4)
            size = (old_high - old_low) / (old_high - old_low).max()
            expected = size ** (19 / 64) * high.max()
            torch.testing.assert_close(high, expected, atol=1e-5, rtol=1e-4)
    assert {step.name for step in sizes} == {
        "patch_embed",
        *(f"blocks.{i}.{part}" for i in range(2) for part in ("qkv", "attn.context")),
    }


def test_norms_use_their_codes():
    """Every channel of a block's norms is centred, its magnitude the root of what it was."""
    model, images = tiny_vit(), random_images(8)
    folded, _ = fold(model, images, MEAN, STD, replace(NONE, fold_norms=True))
    both = (float_steps(m, normalize(images, MEAN, STD)) for m in (model, folded))
    checked = 0
    norms = [norm for block in steps_of(model).blocks for norm in (block.norm1, block.norm2)]
    for (step, old), (_, new) in zip(*both, strict=True):
        if step in norms:
            (old_low, old_high), (low, high) = (
                torch.aminmax(x.flatten(0, 1), dim=0) for x in (old, new)
            )
            torch.testing.assert_close(high, -low, atol=1e-4, rtol=1e-3)
            size = (old_high - old_low) / (old_high - old_low).max()
            torch.testing.assert_close(high, size**0.5 * high.max(), atol=1e-4, rtol=1e-3)
            checked += 1
    assert checked == 4


def test_positions_lose_what_all_patches_share():
    model = tiny_vit()
    with torch.no_grad():
        model.pos_embed[:, 1:] += 5
        model.pos_embed[:, 0] = 9
    folded, _ = fold(model, random_images(2), MEAN, STD, BOTH)
    assert not folded.pos_embed[:, 0].any()
    assert folded.pos_embed.abs().max() < 2


@pytest.mark.parametrize("attention", ["lis4", "uniform8"])
def test_reports_see_the_original_tensors(attention):
    """Traced tensors, through their scales, are the original ones to 20 dB, the context to 13."""
    model, image = tiny_vit(), random_images(1, seed=9)
    qm = tiny_quantized(model, replace(ALL, attention=attention))
    real = float_tensors(model, image)
    trace = qm.trace(image[0])
    checked = 0
    for name in ("patch_embed", "embed", *(f"blocks.{i}.{p}" for i in range(2) for p in LAYERS)):
        for traced in (name, f"{name}.acc"):
            if traced in trace:
                error = qm.scales[traced].dequantize(trace[traced]) - real[name].numpy()[0]
                assert np.square(error).sum() < 0.01 * real[name].square().sum(), traced
                checked += 1
    for i in range(2):
        name = f"blocks.{i}.attn.context"
        error = qm.scales[name].dequantize(trace[name]) - real[name].numpy()[0]
        assert np.square(error).sum() < 0.05 * real[name].square().sum(), name
        checked += 1
    assert checked == 13


@pytest.mark.parametrize("power", [1, 19, 32, 45, 63])
def test_root(power):
    x = np.random.default_rng(0).uniform(1e-3, 1, 100)
    np.testing.assert_allclose(root(x, power), x ** (power / 64), rtol=1e-14)


def test_scale_with_an_offset():
    scale = Scale([0.5, 2.0], zero=1, offset=[10.0, -1.0])
    np.testing.assert_array_equal(scale.dequantize(np.array([[1, 2]])), [[10.0, 1.0]])
