"""Whole tiny models: the layout of the points, calibration, and what the defects change."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference engine needs torch")

from fqvit_hw import PRESETS, QuantConfig  # noqa: E402
from fqvit_hw.calibrate.float_steps import normalize  # noqa: E402
from fqvit_hw.reference import AUTHORS_DEFECTS, Defects, ReferenceConfig, build_reference  # noqa: E402
from fqvit_hw.reference.forward import forward  # noqa: E402
from fqvit_hw.reference.simulation import FloatSimulation, Simulation  # noqa: E402
from tests.models import MEAN, STD, SWIN_SHAPE, random_images, tiny_swin, tiny_vit  # noqa: E402

VIT = tiny_vit(), random_images(20), random_images(6, seed=1)
SWIN = (
    tiny_swin(),
    random_images(20, shape=SWIN_SHAPE),
    random_images(6, seed=1, shape=SWIN_SHAPE),
)
CASES = pytest.mark.parametrize("case", [VIT, SWIN], ids=["vit", "swin"])


def built(case, config=None, **changes):
    config = replace(config or ReferenceConfig(batches=4), **changes)
    return build_reference(case[0], case[1], config, mean=MEAN, std=STD)


def scales(reference):
    return {name: point.scale.numpy() for name, point in reference.sim.points.items()}


def snr_db(real, found):
    return 10 * np.log10(np.square(real).sum() / np.square(real - found).sum())


def float_logits(case):
    with torch.inference_mode():
        return case[0](normalize(case[2], MEAN, STD)).numpy()


@CASES
def test_without_quantization_the_forward_pass_is_timms(case):
    model = pickle.loads(pickle.dumps(case[0])).double()
    x = normalize(case[2], MEAN, STD).double()
    with torch.inference_mode():
        found, expected = forward(model, FloatSimulation(ReferenceConfig(), True), x), model(x)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


VIT_BLOCK = ["norm1", "qkv", "attn.score", "attn.context", "proj", "residual1"]
VIT_BLOCK += ["norm2", "gelu", "fc2", "residual2"]
SWIN_BLOCK = [*VIT_BLOCK[:2], "attn.product", "attn.bias_table", *VIT_BLOCK[2:]]


def test_the_points_of_a_vit_and_their_order():
    points = built(VIT).sim.points
    blocks = [f"blocks.{i}.{name}" for i in range(2) for name in VIT_BLOCK]
    first = ["image", "patch_embed", "cls_token", "pos_embed", "embed"]
    assert list(points) == [*first, *blocks, "norm", "head"]
    streams = [n for n in points if n.endswith(("embed", "residual1", "residual2"))][2:]
    assert {n: p.scale.shape for n, p in points.items() if p.scale.ndim} == {
        n: (24,) for n in streams
    }


def test_the_points_of_a_swin_and_their_order():
    points = built(SWIN).sim.points
    blocks = [
        [f"layers.{i}.blocks.{j}.{name}" for j in range(2) for name in SWIN_BLOCK] for i in range(2)
    ]
    merging = ["layers.1.downsample.norm", "layers.1.downsample.reduction"]
    first = ["image", "patch_embed", "patch_embed.norm"]
    assert list(points) == [*first, *blocks[0], *merging, *blocks[1], "norm", "pool", "head"]
    channels = {n: p.scale.numel() for n, p in points.items() if p.scale.ndim}
    assert set(channels) == {n for n in points if n.endswith(("1", "2", "reduction"))} - {
        n for n in points if n.endswith(("norm1", "norm2", "fc2"))
    }
    assert channels["layers.0.blocks.1.residual2"] == 12
    assert channels["layers.1.downsample.reduction"] == 24


@CASES
def test_uniform8_quantizes_the_attention_map_and_no_ptf_means_one_scale_each(case):
    points = built(case, attention="uniform8", ptf=False).sim.points
    assert sum(name.endswith("attn.softmax") for name in points) in (2, 4)
    assert all(point.scale.ndim == 0 for point in points.values())


class Watched(Simulation):
    """Keeps what passes through every point."""

    def __init__(self, sim):
        super().__init__(sim.config, sim.quantize_input, sim.points)
        self.seen = {}

    def point(self, name, x):
        self.seen[name] = super().point(name, x)
        return self.seen[name]


@CASES
def test_every_tensor_at_a_point_holds_uint8_codes_and_every_weight_int8(case):
    reference = built(case)
    reference.sim = Watched(reference.sim)
    reference.run(case[2])
    points = reference.sim.points
    assert set(reference.sim.seen) == set(points)
    for name, x in reference.sim.seen.items():
        codes = x / points[name].scale + points[name].zero
        assert torch.allclose(codes, codes.round(), atol=1e-3), name
        assert codes.min() > -0.5 and codes.max() < 255.5, name
    for name, w in reference.model.named_parameters():
        float_weight = case[0].get_parameter(name)
        linear = name.endswith("weight") and "norm" not in name
        assert torch.equal(w, float_weight) != linear, name
        if linear:
            assert max(len(row.unique()) for row in w.flatten(1)) <= 256


@CASES
@pytest.mark.parametrize("attention", ["lis4", "uniform8"])
def test_the_simulation_is_near_the_float_model_and_deterministic(case, attention):
    reference = built(case, attention=attention)
    logits = reference.run(case[2])
    assert logits.dtype == np.float32 and logits.shape == (6, 5)
    assert 10 < snr_db(float_logits(case), logits) < 60
    assert np.array_equal(logits, built(case, attention=attention).run(case[2]))
    assert np.array_equal(logits, reference.run(case[2]))
    again = pickle.loads(pickle.dumps(reference))
    assert np.array_equal(logits, again.run(case[2]))


def test_batches_of_run_do_not_matter():
    reference = built(VIT)
    whole, parts = reference.run(VIT[2]), reference.run(VIT[2], batch=4)
    step = float(reference.sim.points["head"].scale)
    assert np.abs(whole - parts).max() <= 2.01 * step  # float32 sums round otherwise


@CASES
def test_the_float_model_is_left_alone(case):
    before = {name: w.clone() for name, w in case[0].state_dict().items()}
    built(case)
    assert all(torch.equal(w, before[name]) for name, w in case[0].state_dict().items())


@CASES
@pytest.mark.parametrize("observer", ["ema", "percentile", "omse"])
def test_observers_take_other_ranges_but_not_of_the_stream_with_ptf(case, observer):
    minmax, other = scales(built(case)), scales(built(case, observer=observer))
    differ = {name for name in minmax if not np.array_equal(minmax[name], other[name])}
    streams = {name for name in minmax if minmax[name].ndim}
    assert len(differ) > len(minmax) / 3 and not differ & streams
    without = scales(built(case, observer=observer, ptf=False))
    plain = scales(built(case, ptf=False))
    assert any(without[name] != plain[name] for name in streams)


@CASES
def test_the_contaminated_batch_changes_points_behind_the_first_softmax_only(case):
    clean = scales(built(case))
    dirty = scales(built(case, defects=Defects(contaminated_batch=True)))
    names = list(clean)
    first = next(i for i, name in enumerate(names) if name.endswith("attn.score"))
    differ = [i for i, n in enumerate(names) if not np.array_equal(clean[n], dirty[n])]
    assert min(differ) > first and len(differ) > 3
    uniform8 = replace(ReferenceConfig(batches=4), attention="uniform8")
    same = scales(built(case, uniform8, defects=Defects(contaminated_batch=True)))
    assert all(np.array_equal(same[n], s) for n, s in scales(built(case, uniform8)).items())


@CASES
def test_the_last_batch_alone_decides_the_factors(case):
    ten, one = scales(built(case, batches=10)), scales(built(case, batches=1))
    tensors = [name for name in ten if ten[name].ndim == 0]
    assert all(ten[name] == one[name] for name in tensors)
    assert any(not np.array_equal(ten[n], one[n]) for n in ten if ten[n].ndim)


def test_a_constant_token_stays_finite_unless_the_defect_is_asked_for():
    model = tiny_vit()
    with torch.no_grad():
        model.cls_token.zero_()
        model.pos_embed[0, 0] = 0.0  # the class token enters the first LayerNorm as zeros
    case = (model, *VIT[1:])
    assert np.isfinite(built(case).run(case[2])).all()
    broken = built(case, defects=Defects(unguarded_layer_norm=True))
    assert np.isnan(broken.run(case[2])).all()


def test_coarse_scores_stay_finite_unless_the_defect_is_asked_for():
    model = tiny_vit()
    with torch.no_grad():
        model.blocks[0].attn.qkv.weight.mul_(12)
    case = (model, *VIT[1:])
    reference = built(case)
    assert reference.sim.points["blocks.0.attn.score"].scale > 1.671
    assert np.isfinite(reference.run(case[2])).all()
    assert np.isnan(built(case, defects=Defects(unguarded_i_exp=True)).run(case[2])).all()


def test_the_image_of_a_vit_is_not_quantized_by_default():
    model = tiny_vit()
    for name, there in (("vit_base_patch16_224", False), ("deit_tiny_patch16_224", True)):
        model.pretrained_cfg = {"architecture": name}
        case = (model, *VIT[1:])
        assert ("image" in built(case).sim.points) == there
        assert "image" in built(case, quantize_input=True).sim.points


def test_a_quant_config_maps_onto_the_papers_choices():
    config = ReferenceConfig.of(QuantConfig(attention="uniform8", ptf=False, observer="omse"))
    assert config == ReferenceConfig(attention="uniform8", ptf=False, observer="omse")
    assert ReferenceConfig.of(PRESETS["paper-884"]) == ReferenceConfig()
    assert ReferenceConfig.of(PRESETS["paper-888"]) == ReferenceConfig(attention="uniform8")
    assert (
        ReferenceConfig.of(PRESETS["best"]).observer == "minmax"
    )  # least-error is not the paper's
    own = ReferenceConfig(batches=3)
    assert ReferenceConfig.of(own) is own
    assert not any(vars(ReferenceConfig().defects).values())
    assert all(vars(AUTHORS_DEFECTS).values())


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"observer": "best"}, ValueError, "observer: expected one of .*'omse'.*, got 'best'"),
        ({"attention": "lis8"}, ValueError, "attention: expected one of .*, got 'lis8'"),
        ({"ptf": 1}, TypeError, "ptf: expected a bool, got 1"),
        ({"batches": 0}, ValueError, "batches: expected 1 or more, got 0"),
        ({"quantize_input": "yes"}, TypeError, "quantize_input: expected None or a bool"),
        ({"defects": True}, TypeError, "defects: expected Defects, got True"),
    ],
)
def test_unknown_choices_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        ReferenceConfig(**changes)


def test_wrong_models_and_images_are_refused():
    with pytest.raises(TypeError, match="unsupported model Linear"):
        build_reference(torch.nn.Linear(2, 2), VIT[1], mean=MEAN, std=STD)
    with pytest.raises(ValueError, match="mean: the model does not say"):
        build_reference(tiny_vit(), VIT[1])
    reference = built(VIT)
    with pytest.raises(TypeError, match="images: expected a numpy array of uint8, got float64"):
        reference.run(VIT[2] / 255)
    with pytest.raises(ValueError, match=r"images: expected shape \(B, 3, 12, 8\), got \(6, 3, 12"):
        reference.run(VIT[2][..., :4])
