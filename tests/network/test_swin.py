"""Swin from a float model to integers: steps, trace, feature maps, accuracy on a trained one."""

from dataclasses import replace

import numpy as np
import pytest

from fqvit_hw import PRESETS, QuantizedModel, quantize
from fqvit_hw.units import windows
from tests.models import (
    MEAN,
    STD,
    SWIN_SHAPE,
    float_tensors,
    random_images,
    tiny_quantized,
    tiny_quantized_swin,
    tiny_swin,
)
from tests.network.names import same_names_and_shapes

torch = pytest.importorskip("torch", reason="calibration needs torch")

from fqvit_hw.calibrate.float_steps import float_steps, normalize  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return tiny_swin()


@pytest.fixture(scope="module")
def qm(model):
    return tiny_quantized_swin(model)


def snr(real, got):
    return 10 * np.log10(np.square(real).sum() / np.square(real - got).sum())


@pytest.mark.parametrize("size", [(22, 18), (16, 16), (31, 27), (8, 50)])
def test_float_steps_equal_the_model_at_any_size(model, size):
    images = random_images(2, shape=(3, *size))
    steps, x = float_tensors(model, images), normalize(images, MEAN, STD)
    with torch.inference_mode():
        torch.testing.assert_close(steps["head"].float(), model(x), atol=1e-4, rtol=0)
        maps = model.forward_intermediates(x, intermediates_only=True)
    for i, expected in enumerate(maps):
        got = steps[f"layers.{i}.blocks.1.residual2"].transpose(1, 2).reshape(expected.shape)
        torch.testing.assert_close(got.float(), expected, atol=1e-4, rtol=0)


def test_trace_has_names_and_shapes_of_the_float_steps(model, qm):
    images = random_images(2, shape=SWIN_SHAPE)
    same_names_and_shapes(qm, float_tensors(model, images), qm.trace(images[0]))


@pytest.mark.parametrize("config", PRESETS)
def test_every_preset_stays_near_float(model, config):
    """Nothing is derived here: 10 dB only says that the integers compute the model."""
    images = random_images(24, seed=9, shape=SWIN_SHAPE)
    *_, (_, real) = float_steps(model, normalize(images, MEAN, STD))
    qm = tiny_quantized_swin(model, PRESETS[config])
    assert snr(real.numpy(), qm.run(images) * qm.logit_scale) > 10


def test_masked_pairs_get_no_attention(qm):
    steps = qm.trace(random_images(1, shape=SWIN_SHAPE)[0])
    block = qm.network.stages[0][1]
    mask = windows.shift_mask(11, 9, (4, 4), (block.shift_y, block.shift_x))
    codes = steps["layers.0.blocks.1.attn.softmax"]  # (W, H, N, N)
    assert mask.any() and (codes.swapaxes(0, 1)[:, mask] == 15).all()
    assert (codes.swapaxes(0, 1)[:, ~mask] < 15).any()


def test_relative_position_bias_is_in_accumulator_steps(model, qm):
    block = qm.network.stages[1][0]
    step = float(qm.scales["layers.1.blocks.0.attn.score.acc"].scale)
    real = model.layers[1].blocks[0].attn._get_rel_pos_bias()[0].detach().numpy()
    np.testing.assert_allclose(block.bias * step, real, atol=step / 2 * (1 + 1e-6))


@pytest.mark.parametrize("size", [(22, 18), (31, 27), (40, 12)])
def test_features_at_any_size(model, qm, size):
    images = random_images(2, seed=5, shape=(3, *size))
    steps = float_tensors(model, images)
    maps = qm.features(images)
    grid = [-(-side // 2) for side in size]
    names = [stage.output.name for stage in qm.network.steps.stages]
    assert (
        names
        == [found.name for found in maps]
        == [f"layers.{i}.blocks.1.residual2" for i in (0, 1)]
    )
    for name, found in zip(names, maps, strict=True):
        assert found.codes.shape[:3] == (2, *grid)
        real = steps[name].reshape(found.codes.shape).numpy().transpose(0, 3, 1, 2)
        assert found.real.shape == real.shape and found.real.dtype == np.float32
        assert snr(real, found.real) > 15, name
        grid = [-(-side // 2) for side in grid]


def test_features_of_a_photograph():
    """427 x 640 pixels, another size and shape than the network's own 64 x 64."""
    from sklearn.datasets import load_sample_image

    photo = load_sample_image("china.jpg").transpose(2, 0, 1)[None]
    model = tiny_swin(img_size=64, patch_size=4, window_size=7, embed_dim=24)
    crops = np.stack([photo[0, :, y : y + 64, x : x + 64] for y in (9, 200) for x in (7, 300)])
    qm = quantize(model, crops, mean=MEAN, std=STD)
    steps = float_tensors(model, photo)
    shapes = []
    for found in qm.features(photo):
        real = steps[found.name].reshape(found.codes.shape).numpy().transpose(0, 3, 1, 2)
        assert snr(real, found.real) > 10, found.name
        shapes.append(found.codes.shape)
    assert shapes == [(1, 107, 160, 24), (1, 54, 80, 48)]


def test_features_refuse_what_has_no_stages(qm):
    vit = tiny_quantized()
    with pytest.raises(TypeError, match="expected a Swin network, got a VisionTransformer"):
        vit.features(random_images(1))
    with pytest.raises(ValueError, match=r"expected shape \(B, 3, any, any\), got \(1, 1, 8, 8\)"):
        qm.features(random_images(1, shape=(1, 8, 8)))
    with pytest.raises(ValueError, match=r"expected shape \(B, 3, 22, 18\)"):
        qm.run(random_images(1, shape=(3, 31, 27)))


def test_file_round_trip(qm, tmp_path):
    images = random_images(3, shape=SWIN_SHAPE)
    qm.save(tmp_path / "a")
    again = QuantizedModel.load(tmp_path / "a")
    np.testing.assert_array_equal(again.run(images), qm.run(images))
    again.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_parts_must_fit(qm):
    net = qm.network
    with pytest.raises(ValueError, match="stages need a patch merging"):
        replace(net, merges=())
    merge = net.merges[0]
    with pytest.raises(ValueError, match=r"layers\.1\.downsample: 24 channels"):
        replace(net, merges=(replace(merge, factor=merge.factor[1:]),))
    with pytest.raises(ValueError, match="bias"):
        replace(net.stages[0][0], bias=net.stages[0][0].bias[:, 1:])
    with pytest.raises(ValueError, match="shift_y"):
        replace(net.stages[0][0], shift_y=4)
    bias = np.full_like(net.stages[0][0].bias, 2**31 - 1)
    first = (replace(net.stages[0][0], bias=bias), *net.stages[0][1:])
    with pytest.raises(ValueError, match=r"layers\.0\.blocks\.0\.attn\.score: the accumulator"):
        replace(net, stages=(first, *net.stages[1:]))
    with pytest.raises(ValueError, match="pool is for 7 tokens, the last stage has 6 x 5"):
        replace(net, pool=replace(net.pool, tokens=7))
    with pytest.raises(ValueError, match="a stage has no blocks"):
        replace(net, stages=((), net.stages[1]))
    with pytest.raises(ValueError, match="pool"):
        replace(net, pool=replace(net.pool, zero=net.pool.zero - 1))
    other = tiny_quantized_swin(config=PRESETS["paper-884"]).network
    with pytest.raises(ValueError, match="norm expects another width"):
        replace(net, norm=other.norm)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"global_pool": "max"}, "global_pool 'max'"),
        ({"num_classes": 0}, "head.fc: Identity"),
    ],
)
def test_unsupported_layers_are_named(changes, match):
    with pytest.raises(ValueError, match=f"unsupported layer .*{match}"):
        quantize(tiny_swin(**changes), random_images(2, shape=SWIN_SHAPE), mean=MEAN, std=STD)


def test_accuracy_of_a_swin_trained_on_digits():
    """Trained weights: here, and only here, accuracy means something. Paired with float."""
    from timm.models.swin_transformer import SwinTransformer

    from fqvit_hw.data import digits
    from fqvit_hw.zoo.digits import fit, float_top1

    torch.set_num_threads(1)

    torch.manual_seed(0)
    model = fit(
        SwinTransformer(
            img_size=8,
            patch_size=2,
            in_chans=1,
            num_classes=10,
            embed_dim=32,
            depths=(2, 2),
            num_heads=(2, 4),
            window_size=2,
            mlp_ratio=2,
            drop_path_rate=0,
        ),
        epochs=22,
    )
    assert float_top1(model) > 0.9
    images, labels = digits.test_set()
    real = model(normalize(images, digits.MEAN, digits.STD)).argmax(1).numpy()
    for config in PRESETS.values():
        qm = quantize(model, digits.train_set()[0], config, mean=digits.MEAN, std=digits.STD)
        ours = qm.run(images).argmax(1)
        assert np.mean(ours == real) > 0.95
        assert np.mean(ours == labels) > np.mean(real == labels) - 0.02
