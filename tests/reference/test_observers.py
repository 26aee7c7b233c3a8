"""Ranges and factors from batches, against their definitions."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference engine needs torch")

from fqvit_hw.reference.fake_quant import Uniform  # noqa: E402
from fqvit_hw.reference.observers import Ema, MinMax, Omse, Percentile, PowerOfTwoFactors  # noqa: E402

BATCHES = [torch.tensor([[-1.0, 2.0]]), torch.tensor([[-3.0, 1.0]]), torch.tensor([[-2.0, 4.0]])]


def watched(kind, batches):
    observer = kind()
    for batch in batches:
        observer.update(batch)
    return observer


def test_minmax_keeps_the_extremes_of_all_batches():
    observer = watched(MinMax, BATCHES)
    assert (observer.low, observer.high) == (-3, 4)
    point, expected = observer.uniform(BATCHES[-1]), Uniform.of_range(*torch.tensor([-3.0, 4.0]))
    assert (point.scale, point.zero) == (expected.scale, expected.zero)


def test_ema_moves_by_a_hundredth():
    observer = watched(Ema, BATCHES)
    low, high = -1.0, 2.0
    for batch_low, batch_high in ((-3, 1), (-2, 4)):
        low, high = low + 0.01 * (batch_low - low), high + 0.01 * (batch_high - high)
    assert float(observer.low) == pytest.approx(low) and float(observer.high) == pytest.approx(high)


def test_percentile_cuts_the_tails_also_of_tensors_that_torch_cannot_sort(monkeypatch):
    x = torch.linspace(-50, 100, 200_001).reshape(3, -1)
    cut = np.percentile(x.numpy(), [0.001, 99.999])
    assert watched(Percentile, [x]).limits(x) == pytest.approx(cut, rel=1e-5)
    monkeypatch.setattr("fqvit_hw.reference.observers.QUANTILE_LIMIT", 1000)
    observer = watched(Percentile, [x, x + 1])
    assert float(observer.low) == pytest.approx(cut[0] + 0.01, rel=1e-5)
    assert float(observer.high) == pytest.approx(cut[1] + 0.01, rel=1e-5)


def test_omse_takes_the_range_with_the_least_error_on_the_last_batch():
    last = torch.cat([torch.randn(5000, generator=torch.Generator().manual_seed(0)), torch.ones(1)])
    observer = watched(Omse, [torch.tensor([-40.0, 40.0]), last])
    found = observer.uniform(last)

    def error(shrink):
        tried = Uniform.of_range(torch.tensor(-40 * shrink), torch.tensor(40 * shrink))
        return float((last - tried.fake_quantize(last)).square().mean())

    best = min(range(90), key=lambda i: error(1 - 0.01 * i))
    assert best > 50  # the wide first batch is cut off
    assert float(found.scale) == pytest.approx(80 * (1 - 0.01 * best) / 255)


def test_ptf_gives_each_channel_the_factor_of_its_range():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 400, 4, generator=generator) * 2 - 1
    x = x * torch.tensor([8.0, 4.0, 2.0, 1.0]) * 0.98
    observer = watched(PowerOfTwoFactors, [x])
    point = observer.uniform(x)
    assert (point.scale / point.scale.min()).tolist() == [8, 4, 2, 1]
    whole = watched(MinMax, [x]).uniform(x)
    assert point.scale[0] == whole.scale and point.zero == whole.zero


def test_ptf_factors_come_from_the_last_batch_and_the_range_from_all():
    wide, narrow = torch.tensor([[[-8.0, -8.0], [8.0, 8.0]]]), torch.tensor([[[-0.9, 8.0]]])
    point = watched(PowerOfTwoFactors, [wide, narrow]).uniform(narrow)
    assert (point.scale / point.scale.min()).tolist() == [1, 8]
    assert float(point.scale[1]) == pytest.approx(16 / 255)


def test_of_equal_errors_the_smallest_factor_wins():
    dead = torch.zeros(1, 3, 2)
    dead[..., 1] = torch.tensor([-8.0, 0.0, 8.0])
    point = watched(PowerOfTwoFactors, [dead]).uniform(dead)
    assert (point.scale[1] / point.scale[0]) == 8
