"""Folds: the float model computes the same, and reports see the original model's tensors."""

from dataclasses import replace

import numpy as np
import pytest

from fqvit_hw import PRESETS, QuantConfig, quantize
from fqvit_hw.network.scale import Scale
from fqvit_hw.network.step import Role
from tests.models import MEAN, STD, float_tensors, random_images, tiny_quantized, tiny_vit

torch = pytest.importorskip("torch", reason="calibration needs torch")

from fqvit_hw.calibrate.choose import calibrate  # noqa: E402
from fqvit_hw.calibrate.float_steps import float_steps, normalize, steps_of  # noqa: E402
from fqvit_hw.calibrate.fold import fold, ranges_to_fold, root, unfit  # noqa: E402

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


def folding(model, images, config):
    return fold(model, ranges_to_fold(model, images, MEAN, STD, config), config, {})


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("changes", [{}, {"qkv_bias": False, "depth": 1}])
def test_the_float_model_computes_the_same(config, changes):
    model = tiny_vit(**changes)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    images = random_images(8)
    folded, _ = folding(model, images, config)
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
    folded, sizes = folding(model, random_images(6, shape=(3, *own)), ALL)
    blocks = sum(len(stage.blocks) for stage in model.layers)
    assert steps_of(model).patch_embed not in sizes
    assert len(sizes) == 3 * blocks  # qkv, context, norm2
    x = normalize(random_images(2, seed=3, shape=(3, *(size or own))), MEAN, STD)
    *_, (_, old) = float_steps(model, x)
    *_, (_, new) = float_steps(folded, x)
    torch.testing.assert_close(new, old, atol=2e-5, rtol=0)


def test_nothing_to_fold_is_no_copy():
    model = tiny_vit()
    assert folding(model, random_images(2), NONE) == (model, {})


def test_values_use_their_codes():
    """Every channel of v is centred, its magnitude the 19th of 64 powers of what it was."""
    model, images = tiny_vit(), random_images(8)
    folded, sizes = folding(model, images, BOTH)
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
    folded, _ = folding(model, images, replace(NONE, fold_norms=True))
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
    folded, _ = folding(model, random_images(2), BOTH)
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


# --- outliers


def fc2_bias(model, value):
    model.blocks[0].mlp.fc2.bias[3] = value


def class_token(model, value):
    model.cls_token[0, 0, 3] = value


def whole_class_token(model, value):
    model.cls_token *= value


SMALL = {}
DEIT_LIKE = dict(
    img_size=(32, 32), patch_size=8, num_classes=10, embed_dim=192, depth=3, num_heads=3,
    mlp_ratio=4,
)  # fmt: skip


@pytest.mark.parametrize("value", [100, 500, 3000])
@pytest.mark.parametrize("outlier", [fc2_bias, class_token, whole_class_token])
@pytest.mark.parametrize("changes", [SMALL, DEIT_LIKE], ids=["24 channels", "like DeiT"])
def test_an_outlier_is_no_refusal(changes, outlier, value):
    """The integers still compute the model: 13 dB say that they are no noise, not more."""
    model = tiny_vit(**changes)
    with torch.no_grad():
        outlier(model, value)
    shape = (3, *model.patch_embed.img_size)
    images = random_images(24, seed=9, shape=shape)
    *_, (_, real) = float_steps(model, normalize(images, MEAN, STD))
    for preset in ("best", "paper-884"):
        qm = quantize(model, random_images(16, shape=shape), PRESETS[preset], mean=MEAN, std=STD)
        error = qm.run(images) * qm.logit_scale - real.numpy()
        assert 10 * np.log10((real.numpy() ** 2).sum() / (error**2).sum()) > 13, preset


@pytest.mark.parametrize("observer", ["clipped-gelu", "ema", "percentile", "omse"])
def test_only_what_leaves_its_range_is_kept(observer):
    """The outlier keeps its size and middle, the others are folded, by whatever observer."""
    model, images = tiny_vit(), random_images(16)
    with torch.no_grad():
        fc2_bias(model, 500)
    config = replace(ALL, observer=observer)
    ranges = ranges_to_fold(model, images, MEAN, STD, config)
    changed, folded = fold(model, ranges, config, {})
    scales, _ = calibrate(changed, images, MEAN, STD, config)
    more = unfit(changed, folded, scales, {})
    block = steps_of(model).blocks[1]
    assert more[block.norm1][3] and not more[block.norm1].all()
    changed, folded = fold(model, ranges, config, more)
    size, middle = folded[block.norm1]
    np.testing.assert_array_equal(size[more[block.norm1]], 1)
    np.testing.assert_array_equal(middle[more[block.norm1]], 0)
    assert (size[~more[block.norm1]] < 1).any()
    scales, _ = calibrate(changed, images, MEAN, STD, config)
    assert not unfit(changed, folded, scales, more)
    x = normalize(random_images(4, seed=3), MEAN, STD)
    (*_, (_, old)), (*_, (_, new)) = float_steps(model, x), float_steps(changed, x)
    torch.testing.assert_close(new, old, atol=2e-4, rtol=0)


def test_a_value_beyond_the_requantizer_is_kept():
    model, images = tiny_vit(), random_images(8)
    changed, folded = folding(model, images, BOTH)
    scales, _ = calibrate(changed, images, MEAN, STD, BOTH)
    assert not unfit(changed, folded, scales, {})
    name = steps_of(model).blocks[0].qkv.name
    scales[name] = Scale(scales[name].scale * 2.0**-30)
    more = unfit(changed, folded, scales, {})
    assert set(more) == {steps_of(model).blocks[0].qkv}
    assert not unfit(changed, folded, scales, more)


def test_scale_with_an_offset():
    scale = Scale([0.5, 2.0], zero=1, offset=[10.0, -1.0])
    np.testing.assert_array_equal(scale.dequantize(np.array([[1, 2]])), [[10.0, 1.0]])
