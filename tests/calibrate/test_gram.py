"""Second moments of codes: exact, whatever the batches, and of all inputs of Linears."""

import numpy as np
import pytest

from fqvit_hw.network.scale import Scale
from tests.models import MEAN, STD, SWIN_SHAPE, random_images, tiny_swin, tiny_vit

torch = pytest.importorskip("torch", reason="calibration needs torch")

from fqvit_hw import QuantConfig, quantize  # noqa: E402
from fqvit_hw.calibrate import gram as module  # noqa: E402
from fqvit_hw.calibrate.choose import calibrate  # noqa: E402
from fqvit_hw.calibrate.gram import Gram, observe_inputs  # noqa: E402
from fqvit_hw.network.step import Operation  # noqa: E402


def test_moments_by_hand():
    codes = np.random.default_rng(0).integers(-128, 128, (3, 700, 9)).astype(np.int8)
    gram = Gram(Scale(1.0), 3)
    for image in codes:
        gram.add(image[None])
    rows = codes.reshape(-1, 9).astype(np.int64)
    assert gram.count == 2100
    np.testing.assert_array_equal(gram.products, rows.T @ rows)
    np.testing.assert_allclose(gram.mean, rows.mean(0))
    np.testing.assert_allclose(gram.covariance, np.cov(rows.T, bias=True) * 2100, atol=1e-3)
    np.testing.assert_array_equal(gram.about(-7), (rows + 7).T @ (rows + 7))


def test_largest_codes_do_not_overflow():
    gram = Gram(Scale(1.0), 1)
    gram.add(np.full((1, module.TOKENS, 2), -128, np.int8))
    assert gram.products.tolist() == [[module.TOKENS << 14] * 2] * 2
    assert not gram.covariance.any()


def test_codes_are_those_of_the_scale():
    gram = Gram(Scale(0.5, zero=-3), 1)
    gram.update(torch.tensor([[[[1.0, -100.0]], [[0.26, 100.0]]]]))  # (1, 2, 1, 2)
    assert gram.total.tolist() == [-1 - 2, -128 + 127]


def test_many_tokens_are_thinned_evenly_whatever_the_batches(monkeypatch):
    monkeypatch.setattr(module, "TOKENS", 100)
    codes = np.random.default_rng(1).integers(-128, 128, (12, 25, 4)).astype(np.int8)
    every_third = codes.reshape(-1, 4)[::3].astype(np.int64)
    for batch in (1, 5, 12):
        gram = Gram(Scale(1.0), len(codes))
        for start in range(0, len(codes), batch):
            gram.add(codes[start : start + batch])
        assert gram.count == 100
        np.testing.assert_array_equal(gram.products, every_third.T @ every_third)


def test_the_class_token_counts_as_a_quarter_of_all(monkeypatch):
    codes = np.random.default_rng(2).integers(-128, 128, (6, 41, 4)).astype(np.int8)
    rows, first = codes.reshape(-1, 4).astype(np.int64), codes[:, 0].astype(np.int64)
    for tokens, stride, times in ((1000, 1, 10), (100, 3, 3)):
        monkeypatch.setattr(module, "TOKENS", tokens)
        gram = Gram(Scale(1.0), 6, class_token=True)
        for batch in (codes[:1], codes[1:]):
            gram.add(batch)
        some = rows[::stride]
        assert gram.count == len(some) + 6 * times
        np.testing.assert_array_equal(gram.products, some.T @ some + times * first.T @ first)
        np.testing.assert_array_equal(gram.total, some.sum(0) + times * first.sum(0))
    only = Gram(Scale(1.0), 6, class_token=True)  # what the head reads
    only.add(codes[:, :1])
    assert only.count == 6


@pytest.mark.parametrize("family", ["vit", "swin"])
def test_every_input_of_a_linear_is_seen_as_the_network_sees_it(family):
    """Near what the integer network makes of the same images: float steps rounded once."""
    vit = family == "vit"
    model = tiny_vit() if vit else tiny_swin()
    images = random_images(4) if vit else random_images(4, shape=SWIN_SHAPE)
    config = QuantConfig(fold_positions=False, fold_values=False, fold_norms=False)
    scales, _ = calibrate(model, images, MEAN, STD, config)
    grams = observe_inputs(model, images, MEAN, STD, scales)
    qm = quantize(model, images, config, mean=MEAN, std=STD)
    wanted = {s.source for s in qm.network.steps if s.operation is Operation.LINEAR}
    assert set(grams) == wanted
    traces = [qm.trace(image) for image in images]
    np.testing.assert_array_equal(
        grams["image"].total, sum(t["image"].astype(np.int64).sum(0) for t in traces)
    )
    for name, gram in grams.items():
        step, K = qm.network.steps.by_tensor[name], len(gram.total)
        if step.operation is Operation.CONTEXT:  # (..., H, N, D) -> (..., N, H * D)
            seen = [np.moveaxis(t[name], -3, -2).reshape(-1, K) for t in traces]
        else:
            seen = [t[name].reshape(-1, K) for t in traces]
        if vit and len(seen[0]) == qm.network.tokens:  # 7: the class token counts once more
            seen += [rows[:1] for rows in seen]
        rows = np.concatenate(seen).astype(np.float64)
        assert gram.count == len(rows), name
        seen, found = np.cov(rows.T, bias=True), gram.covariance / gram.count
        assert np.square(found - seen).sum() < 0.02 * np.square(seen).sum(), name
