"""A model that computes something else than its layers say is refused, and the layer named."""

import contextlib
import types

import pytest

from fqvit_hw import PRESETS, quantize
from fqvit_hw.network.file import content_sha256
from tests.models import MEAN, STD, SWIN_SHAPE, random_images, tiny_swin, tiny_vit

torch = pytest.importorskip("torch", reason="calibration needs torch")

from torch import nn  # noqa: E402

from fqvit_hw.calibrate import guard  # noqa: E402
from fqvit_hw.calibrate.float_steps import columns, float_steps, normalize, steps_of  # noqa: E402
from fqvit_hw.calibrate.guard import BOUND_DB, agreement, check_same, places, watched  # noqa: E402


def a_scale(model):
    model.blocks[1].attn.scale *= 1.5
    assert model.blocks[1].attn.fused_attn  # which takes its own


def a_hook(model):
    model.blocks[0].mlp.fc1.register_forward_hook(lambda module, given, result: result * 1.01)


def a_pre_hook(model):
    model.blocks[1].register_forward_pre_hook(lambda module, given: (given[0].flip(-1),))


def a_forward_of_a_block(model):
    def forward(self, x):
        return x + self.attn(self.norm1(x))

    model.blocks[1].forward = types.MethodType(forward, model.blocks[1])


def a_forward_of_the_model(model):
    forward = model.forward
    model.forward = lambda x: forward(x) * 2


def a_forward_without_the_layers(model):
    model.forward = lambda x: torch.ones(len(x), 5)


def a_layer_norm(model):
    class Halved(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x) / 2

    model.blocks[0].norm2 = Halved(24, eps=1e-6).eval()
    assert isinstance(model.blocks[0].norm2, nn.LayerNorm)


def a_linear_for_a_dropout(model):
    model.pos_drop = nn.Linear(24, 24).eval()


def a_clamp_for_a_drop_path(model):
    model.blocks[0].drop_path2 = nn.Hardtanh(-0.05, 0.05).eval()


KINDS = {
    a_scale: "blocks.1.attn.context",
    a_hook: "blocks.0.fc1",
    a_pre_hook: "blocks.1.norm1",  # the stream, as block 0 returns it, is right
    a_forward_of_a_block: r"blocks.1.residual1 \(its layer is not called",
    a_forward_of_the_model: "the logits",
    a_forward_without_the_layers: r"patch_embed \(its layer is not called",
    a_layer_norm: "blocks.0.norm2",
    a_linear_for_a_dropout: "embed",
    a_clamp_for_a_drop_path: "blocks.0.residual2",
}


@pytest.mark.parametrize("change", KINDS, ids=lambda change: change.__name__)
def test_what_is_refused(change):
    model = tiny_vit()
    change(model)
    with pytest.raises(ValueError, match=rf"is -?[\d.]+ dB, .* differs: {KINDS[change]}"):
        quantize(model, random_images(3), mean=MEAN, std=STD)


def test_a_swin_with_a_hook_is_refused():
    model = tiny_swin()
    model.layers[1].blocks[0].attn.qkv.register_forward_hook(lambda module, given, y: y * 1.01)
    with pytest.raises(ValueError, match=r"differs: layers.1.blocks.0.qkv \("):
        quantize(model, random_images(3, shape=SWIN_SHAPE), mean=MEAN, std=STD)


@pytest.mark.parametrize("make", [tiny_vit, tiny_swin])
def test_every_place_holds_its_step(make):
    """Of a model as it is meant to be: all but scores and probabilities are looked at."""
    model = make()
    x = normalize(random_images(2, shape=(3, *model.patch_embed.img_size)), MEAN, STD)
    steps = steps_of(model)
    with guard.plain_torch(), watched(places(model, steps)) as seen:
        model(x)
    assert set(places(model, steps)) == set(seen)
    assert len(seen) == len(list(steps)) - 1 - 2 * len(steps.blocks)  # the image, two of attention
    for step, tensor in float_steps(model, x):
        if step in seen:
            assert agreement(columns(step, tensor), seen[step]) > 110, step.name
    assert not any(module._forward_hooks for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_values_that_become_infinite_are_named():
    model = tiny_vit()
    with torch.no_grad():
        model.blocks[1].mlp.fc1.weight.mul_(1e36)  # its sums stay finite in any order
    with pytest.raises(ValueError, match=r"differs: norm \(not finite\)"):
        quantize(model, random_images(2), mean=MEAN, std=STD)
    with pytest.raises(ValueError, match=r"differs: blocks\.0\.norm1 \(not finite\)"):
        quantize(tiny_vit(), random_images(2), mean=MEAN, std=(1e-30,) * 3)


def test_agreement_in_decibels():
    real = torch.ones(2, 3, dtype=torch.float64)
    assert agreement(real, real.float()) == float("inf")
    assert agreement(real, real.reshape(3, 2) * 1.01) == pytest.approx(40)
    assert agreement(real, real[:1]) == agreement(real, real * torch.nan) == -float("inf")
    assert agreement(real * 0, real) == agreement(real, None) == -float("inf")
    assert BOUND_DB == 80


def test_hooks_that_change_nothing_are_no_obstacle():
    model, calls = tiny_vit(), []
    model.blocks[0].register_forward_hook(lambda module, given, result: calls.append(module))
    check_same(model, random_images(2), MEAN, STD)
    assert calls == [model.blocks[0]]
    assert len(model.blocks[0]._forward_hooks) == 1  # the user's


@contextlib.contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def coarse_products():
    torch.set_float32_matmul_precision("medium")
    try:
        yield
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


SETTINGS = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "default_dtype": default_dtype,
    "coarse_products": coarse_products,
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("preset", ["best", "paper-884"])
def test_settings_around_it_change_nothing(setting, preset):
    def made():
        return quantize(model, random_images(4), PRESETS[preset], mean=MEAN, std=STD)

    model = tiny_vit()
    expected = content_sha256(made())
    with setting():
        assert content_sha256(made()) == expected


def test_a_layer_in_training_mode_is_named():
    model = tiny_vit(proj_drop_rate=0.5)
    model.blocks[1].attn.proj_drop.train()
    with pytest.raises(ValueError, match=r"blocks\.1\.attn\.proj_drop is in training mode"):
        quantize(model, random_images(2), mean=MEAN, std=STD)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_refused(dtype):
    with pytest.raises(ValueError, match=r"cls_token: expected weights of float32 or float64, got"):
        quantize(tiny_vit().to(dtype), random_images(2), mean=MEAN, std=STD)
    with pytest.raises(ValueError, match=r"cls_token: expected weights on the CPU, got meta"):
        quantize(tiny_vit().to("meta"), random_images(2), mean=MEAN, std=STD)


def test_float64_weights_make_the_same_network():
    model = tiny_vit()
    single = quantize(model, random_images(4), PRESETS["paper-884"], mean=MEAN, std=STD)
    double = quantize(model.double(), random_images(4), PRESETS["paper-884"], mean=MEAN, std=STD)
    assert content_sha256(single) == content_sha256(double)
