"""Calibration: the float steps, the fixed-point encodings, refusals, determinism, all switches."""

from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest

from fqvit_hw import PRESETS, QuantConfig, quantize
from fqvit_hw.config import CHOICES
from tests.models import MEAN, STD, float_tensors, random_images, tiny_quantized, tiny_vit
from tests.network.names import same_names_and_shapes

torch = pytest.importorskip("torch", reason="calibration needs torch")

from fqvit_hw.attention_codes import MODES  # noqa: E402
from fqvit_hw.calibrate import calibrated, fixed_point, tables  # noqa: E402
from fqvit_hw.calibrate.float_steps import float_steps, normalize  # noqa: E402
from fqvit_hw.network.file import content_sha256  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return tiny_vit()


def same_bytes(a, b, tmp_path):
    a.save(tmp_path / "a")
    b.save(tmp_path / "b")
    return (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("changes", [{}, {"qkv_bias": False}, {"depth": 1, "num_heads": 1}])
def test_float_steps_equal_the_model(changes):
    model = tiny_vit(**changes)
    x = normalize(random_images(3), MEAN, STD)
    *_, (step, logits) = float_steps(model, x)
    assert step.name == "head"
    with torch.inference_mode():
        torch.testing.assert_close(logits.float(), model(x), atol=1e-4, rtol=0)


def test_float_steps_have_names_and_shapes_of_the_trace(model):
    images, qm = random_images(2), tiny_quantized(model)
    same_names_and_shapes(qm, float_tensors(model, images), qm.trace(images[0]))


def test_every_switch_runs_and_stays_near_float(model):
    """All pairs of choices that interact, and each other switch alone.

    Nothing is derived here: 8 dB only says that each network computes the model and not noise.
    """
    interacting = ("attention", "residual_operand", "stream_width", "ptf")
    configs = [
        QuantConfig(**dict(zip(interacting, values, strict=True)))
        for values in product(*(CHOICES[name] for name in interacting))
    ]
    configs += [
        replace(QuantConfig(), **{name: v})
        for name in CHOICES
        if name not in ("calibration_images", "weight_bits")
        for v in CHOICES[name]
    ] + list(PRESETS.values())
    images = random_images(24, seed=9)
    *_, (_, real) = float_steps(model, normalize(images, MEAN, STD))
    real = real.numpy()
    for config in configs:
        qm = tiny_quantized(model, config)
        error = qm.run(images) * qm.logit_scale - real
        snr = 10 * np.log10((real**2).sum() / (error**2).sum())
        assert snr > 8, (config, snr)


def test_more_bits_help(model):
    """16-bit stream and 8-bit probabilities must beat the paper's form: the switches do act."""
    images = random_images(24, seed=9)
    *_, (_, real) = float_steps(model, normalize(images, MEAN, STD))

    def error(config):
        qm = tiny_quantized(model, config)
        return float(((qm.run(images) * qm.logit_scale - real.numpy()) ** 2).sum())

    assert error(QuantConfig(attention="uniform8", stream_width=16)) < error(PRESETS["paper-884"])


def test_deterministic_and_torch_or_numpy(model, tmp_path):
    images = random_images(16)
    a = quantize(model, images, mean=MEAN, std=STD)
    b = quantize(model, torch.from_numpy(images), QuantConfig(), mean=MEAN, std=STD)
    assert same_bytes(a, b, tmp_path)
    c = quantize(model, random_images(16, seed=5), mean=MEAN, std=STD)
    assert not same_bytes(a, c, tmp_path)


def test_network_file_of_every_width_round_trips(model, tmp_path):
    from fqvit_hw import QuantizedModel

    qm = tiny_quantized(model, QuantConfig(stream_width=16, residual_operand="int8"))
    qm.save(tmp_path / "net")
    again = QuantizedModel.load(tmp_path / "net")
    np.testing.assert_array_equal(again.run(random_images(2)), qm.run(random_images(2)))
    assert again.config == qm.config and again.logit_scale == qm.logit_scale


# --- refusals


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"init_values": 0.1}, r"blocks\.0\.ls1: LayerScale"),
        ({"qk_norm": True}, r"blocks\.0\.attn\.q_norm"),
        ({"pre_norm": True}, "norm_pre"),
        ({"reg_tokens": 2}, "register tokens"),
        ({"global_pool": "avg"}, "global_pool 'avg'"),
        ({"no_embed_class": True}, "no_embed_class"),
        ({"num_classes": 0}, "head: Identity"),
        ({"act_layer": "gelu_tanh"}, r"blocks\.0\.mlp\.act: GELUTanh"),
        ({"act_layer": "relu"}, r"blocks\.0\.mlp\.act: ReLU"),
        ({"norm_layer": "rmsnorm"}, r"norm: RmsNorm"),
        ({"dynamic_img_size": True}, "dynamic"),
        ({"pos_embed": "none"}, "position"),
    ],
)
def test_unsupported_layers_are_named(changes, match):
    with pytest.raises(ValueError, match=f"unsupported layer .*{match}"):
        quantize(tiny_vit(**changes), random_images(2), mean=MEAN, std=STD)


def test_unsupported_models_are_named(model):
    import timm

    other = timm.create_model("resnet18").eval()
    with pytest.raises(TypeError, match="ResNet: expected a timm VisionTransformer"):
        quantize(other, random_images(2), mean=MEAN, std=STD)
    with pytest.raises(ValueError, match="training mode"):
        quantize(tiny_vit().train(), random_images(2), mean=MEAN, std=STD)


def test_weights_that_are_not_finite_are_named():
    model = tiny_vit()
    with torch.no_grad():
        model.blocks[1].mlp.fc2.weight[3, 4] = float("nan")
        model.head.bias[0] = float("inf")
    with pytest.raises(ValueError, match=r"blocks\.1\.mlp\.fc2\.weight, head\.bias"):
        quantize(model, random_images(2), mean=MEAN, std=STD)


@pytest.mark.parametrize(
    ("images", "error", "match"),
    [
        (random_images(0), ValueError, "got none"),
        (np.full((3, 3, 12, 8), 7, np.uint8), ValueError, "constant"),
        (random_images(2).astype(np.float32), TypeError, "float32"),
        (random_images(2)[:, :1], ValueError, r"\(B, 3, 12, 8\), got \(2, 1, 12, 8\)"),
        (random_images(2)[0], ValueError, "got"),
        ([1, 2], TypeError, "list"),
    ],
)
def test_wrong_calibration_images(model, images, error, match):
    with pytest.raises(error, match=match):
        quantize(model, images, mean=MEAN, std=STD)


def test_wrong_mean_std_and_config(model):
    images = random_images(2)
    with pytest.raises(ValueError, match="mean: expected 3 numbers"):
        quantize(model, images, mean=(0.5,), std=STD)
    with pytest.raises(ValueError, match="std: expected positive"):
        quantize(model, images, mean=MEAN, std=(0.1, 0.0, 0.1))
    with pytest.raises(ValueError, match="mean: the model does not say"):
        quantize(model, images)
    with pytest.raises(TypeError, match="QuantConfig"):
        quantize(model, images, "best", mean=MEAN, std=STD)
    with pytest.raises(ValueError, match="exponential"):
        QuantConfig(exponential="taylor")
    with pytest.raises(TypeError, match="row_norm"):
        QuantConfig(row_norm=1)


def test_a_score_scale_too_coarse_for_i_exp_takes_the_exact_table():
    model = tiny_vit()
    with torch.no_grad():
        model.blocks[1].attn.qkv.weight.mul_(60)
    qm = tiny_quantized(model, PRESETS["paper-884"])
    for i, make in enumerate(
        (partial(tables.polynomial_exponential, "0"), tables.exact_exponential)
    ):
        table = make(float(qm.scales[f"blocks.{i}.attn.score"].scale))
        np.testing.assert_array_equal(qm.network.blocks[i].attention.softmax.table, table)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_gelu_index_is_as_fine_as_its_range_allows(preset):
    model = tiny_vit()
    with torch.no_grad():
        model.blocks[0].mlp.fc1.weight.mul_(300)
    qm = tiny_quantized(model, PRESETS[preset])
    widths = [block.gelu.index_width for block in qm.network.blocks]
    assert widths == [8, PRESETS[preset].gelu_index_width]
    with torch.no_grad():
        model.blocks[0].mlp.fc1.weight.mul_(300)
    with pytest.raises(ValueError, match=r"blocks\.0\.fc1: pre-activations up to .* GELU index, 8"):
        tiny_quantized(model, PRESETS[preset])


DEAD = "norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-12, 1e-30])
@pytest.mark.parametrize("layer", DEAD)
def test_nearly_dead_layers_do_not_stop_a_whole_model(layer, size, preset):
    model, images = tiny_vit(), random_images(24, seed=9)
    with torch.no_grad():
        for parameter in model.blocks[1].get_submodule(layer).parameters():
            parameter.mul_(size)
    *_, (_, real) = float_steps(model, normalize(images, MEAN, STD))
    qm = tiny_quantized(model, PRESETS[preset])
    error = np.square(qm.run(images) * qm.logit_scale - real.numpy()).sum()
    assert error < 0.05 * real.square().sum()  # 13 dB: no noise


# --- fixed point


def test_encode_multiplier_is_accurate_over_its_range():
    ratio = np.exp2(np.random.default_rng(0).uniform(-32, 14.99, 20_000))
    M, N = fixed_point.encode_multiplier("layer", ratio)
    assert M.min() >= 1 << 15 and M.max() < 1 << 16 and N.min() >= 1 and N.max() <= 47
    # half a unit in a mantissa of at least 2^15
    assert np.abs(M / np.exp2(N) / ratio - 1).max() <= 2.0**-16 * (1 + 1e-9)
    M, N = fixed_point.encode_multiplier("layer", np.array([0.0, 2.0**-33, 1e-300]))
    assert not M.any() and (N == 1).all()
    M, N = fixed_point.encode_multiplier("layer", 1 - 2.0**-20)  # rounds up to the next power
    assert (M, N) == (1 << 15, 15)
    with pytest.raises(ValueError, match="layer: requantize"):
        fixed_point.encode_multiplier("layer", 2.0**15)


def test_an_accumulator_that_could_overflow_is_refused_with_its_bits():
    weight = np.ones((2, 140_000))  # 128 * 127 * 140000 > 2^31
    with pytest.raises(ValueError, match=r"blocks\.0\.fc1: the accumulator .* needs 33 bits"):
        fixed_point.build_linear("blocks.0.fc1", weight, np.zeros(2), 0.1, 0)
    fixed_point.build_linear("blocks.0.fc1", weight[:, :130_000], np.zeros(2), 0.1, 0)


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
def test_weight_bits(bits):
    """Codes of so many bits, symmetric, every row reaching its largest one; errors within half."""
    weight = np.random.default_rng(bits).normal(size=(6, 50))
    linear, scale = fixed_point.build_linear("fc", weight, np.zeros(6), 0.1, 3, bits)
    largest = 2 ** (bits - 1) - 1
    assert linear.weight.dtype == np.int8
    np.testing.assert_array_equal(np.abs(linear.weight).max(1), np.full(6, largest))
    error = linear.weight * (scale / 0.1)[:, None] - weight
    assert np.abs(error).max() <= np.abs(weight).max() / largest / 2 * (1 + 1e-12)


def test_fewer_weight_bits_cost_accuracy(model):
    """Each bit less must hurt; at 4 bits the network still computes the model (5 dB)."""
    images = random_images(24, seed=9)
    *_, (_, real) = float_steps(model, normalize(images, MEAN, STD))
    real, errors = real.numpy(), []
    for bits in (8, 6, 4):
        qm = tiny_quantized(model, QuantConfig(attention="uniform8", weight_bits=bits))
        for name, linear in (("qkv", qm.network.blocks[0].qkv), ("head", qm.network.head)):
            assert np.abs(linear.weight).max() == 2 ** (bits - 1) - 1, name
        errors.append(np.square(qm.run(images) * qm.logit_scale - real).sum())
    assert errors[0] < errors[1] < errors[2] < 0.3 * np.square(real).sum()


@pytest.mark.parametrize(("bits", "share"), [(4, 0.8), (6, 0.9)])
@pytest.mark.parametrize("corrected", [True, False])
def test_rounding_for_the_output_costs_less_accuracy(model, bits, share, corrected):
    """On images that were not calibrated on; with and without the bias that takes the mean. With 6
    bits the error of the activations is most of what is left."""
    images = random_images(48, seed=9)
    *_, (_, real) = float_steps(model, normalize(images, MEAN, STD))
    errors = {}
    for kind in ("nearest", "output"):
        config = QuantConfig(weight_rounding=kind, weight_bits=bits, bias_correction=corrected)
        qm = tiny_quantized(model, config)
        assert np.abs(qm.network.head.weight).max() <= 2 ** (bits - 1) - 1
        errors[kind] = np.square(qm.run(images) * qm.logit_scale - real.numpy()).sum()
    assert errors["output"] < share * errors["nearest"]


def test_bias_correction_by_hand():
    """Two bits more than a sign: weights 0.3 and 1 become 0 and 1 steps of 1/1 at 2 bits; the lost
    0.3 * mean input goes into the bias."""
    weight, bias, mean = np.array([[0.3, 1.0]]), np.array([0.5]), np.array([2.0, 7.0])
    linear, scale = fixed_point.build_linear("fc", weight, bias, 0.001, 0, 2, mean)
    np.testing.assert_array_equal(linear.weight, [[0, 1]])
    np.testing.assert_allclose(linear.bias * scale, 0.5 + 0.3 * 2, rtol=1e-9)


def test_calibration_images_are_spread_evenly(model, tmp_path):
    from fqvit_hw.calibrate import spaced

    images = np.arange(10)
    assert spaced(images, 4).tolist() == [0, 2, 5, 7]
    assert spaced(images, 10).tolist() == spaced(images, 100).tolist() == images.tolist()
    images, config = random_images(16), QuantConfig(calibration_images=4)
    some = quantize(model, images, config, mean=MEAN, std=STD)
    assert same_bytes(some, quantize(model, images[::4], config, mean=MEAN, std=STD), tmp_path)
    assert not same_bytes(some, quantize(model, images, mean=MEAN, std=STD), tmp_path)


def test_layernorm_that_could_overflow_is_refused():
    from fqvit_hw.network.scale import Scale

    ones, stream, out = np.ones(8), Scale(0.01), Scale(0.02)
    build = fixed_point.build_layernorm
    with pytest.raises(ValueError, match=r"norm: layernorm beta .* bits"):
        build("norm", ones, 200 * ones, 1e-6, stream, 8, out)
    with pytest.raises(ValueError, match=r"norm: layernorm gamma .* bits"):
        build("norm", 700 * ones, ones, 1e-6, stream, 8, out)
    with pytest.raises(ValueError, match=r"norm: layernorm V .* bits"):
        build("norm", ones, ones, 1e3, stream, 8, out)


def test_dead_and_nearly_dead_channels():
    rng = np.random.default_rng(3)
    weight, bias = rng.normal(size=(4, 16)), np.array([0.5, 0.0, 0.5, -0.25])
    weight[0] = 0  # only a bias
    weight[1] = 0  # nothing at all
    weight[2] *= 1e-12  # weights that no int32 bias could stand beside at their own scale
    linear, scale = fixed_point.build_linear("fc", weight, bias, 0.05, -7)
    requantize = fixed_point.build_requantize("fc", scale / 0.01, 8)
    assert requantize.multiplier[1] == 0 and scale[1] == 0
    from fqvit_hw.units import matmul
    from fqvit_hw.units import requantize as run

    codes = rng.integers(-128, 128, (50, 16)).astype(np.int8)
    real = (0.05 * (codes.astype(float) + 7)) @ weight.T + bias
    got = run(matmul(codes, linear.weight, linear.bias), requantize) * 0.01
    np.testing.assert_allclose(got[:, :3], real[:, :3], atol=0.0051)  # half a step of 0.01


def test_dead_layers_do_not_stop_a_whole_model():
    model = tiny_vit()
    with torch.no_grad():
        for layer in (model.blocks[0].attn.proj, model.blocks[1].mlp.fc2, model.blocks[1].attn.qkv):
            layer.weight.zero_()
            layer.bias.zero_()
        model.head.weight[2].zero_()
        model.head.bias[2].zero_()
    qm = tiny_quantized(model)
    assert not qm.run(random_images(3))[:, 2].any()


@pytest.mark.parametrize("step", [0.003, 0.05, 0.3, 1.0, 3.0])
def test_exact_exponential(step):
    table = tables.exact_exponential(step)
    assert table[0] == 1 << 23
    np.testing.assert_allclose(table / 2**23, np.exp(-step * np.arange(256)), atol=2.0**-24 * 1.001)


@pytest.mark.parametrize("step", [0.0005, 0.01, 0.05, 0.1])
def test_polynomial_exponential_is_near_on_fine_steps(step):
    """Its ln 2 is ceil(0.6931 / s) steps instead of 0.6931 / s, its quadratic is within 2 %."""
    table = tables.polynomial_exponential("layer", step)
    assert 1 << 23 <= table[0] < 1 << 24
    x0 = np.ceil(0.6931 / step)
    tempered = np.exp2(-np.arange(256) / x0)
    np.testing.assert_allclose(table / table[0], tempered, rtol=0.08, atol=1e-6)


@pytest.mark.parametrize("step", [0.003, 0.3])
def test_lifted_exponential(step):
    table, exact = tables.lifted_exponential(step), tables.exact_exponential(step)
    assert table[0] == exact[0] == 1 << 23
    np.testing.assert_allclose(table[1:], 0.92 * exact[1:], atol=0.5)
    kinds = {a: QuantConfig(exponential="lifted", attention=a).softmax_table for a in MODES}
    assert kinds == dict.fromkeys(MODES, "exact") | {"lis4": "lifted"}


def test_polynomial_exponential_limit():
    assert tables.polynomial_exponential("layer", 1.67).max() < 1 << 24
    with pytest.raises(ValueError, match="layer: i-exp"):
        tables.polynomial_exponential("layer", 1.6711)


def test_one_calibration_serves_what_asks_nothing_of_the_images(monkeypatch):
    """The networks are those that `quantize` makes; another configuration is refused."""
    model, images = tiny_vit(), random_images(4)
    best = QuantConfig()
    found = calibrated(model, images, best, mean=MEAN, std=STD)
    for change in ({}, {"attention": "lis4", "exponential": "lifted"}, {"weight_bits": 5}):
        config = replace(best, **change)
        qm = quantize(model, images, config, mean=MEAN, std=STD)
        assert content_sha256(found.build(config)) == content_sha256(qm)
    other = replace(best, gelu_index_width=10)
    assert not found.serves(other)
    with pytest.raises(ValueError, match="does not serve"):
        found.build(other)
    nearest = replace(best, weight_rounding="nearest")  # which needs no second moments
    assert not calibrated(model, images, nearest, mean=MEAN, std=STD).serves(best)
