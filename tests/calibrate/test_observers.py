"""The observers on examples worked out by hand, and their independence of the batches."""

import numpy as np
import pytest

from fqvit_hw import QuantConfig
from fqvit_hw.network.steps import swin_steps, vit_steps

torch = pytest.importorskip("torch", reason="calibration needs torch")

from fqvit_hw.calibrate import choose, observers  # noqa: E402
from fqvit_hw.calibrate.observers import (  # noqa: E402
    ALPHA,
    BINS,
    GROUP,
    Ema,
    Histogram,
    Mean,
    MinMax,
    Percentile,
    Range,
)


def images_of(values):
    """One value per image and column: (B, 1 token, 1 group, columns)."""
    x = torch.tensor(values, dtype=torch.float32)
    return x.reshape(len(x), 1, 1, -1)


def seen(observer, x, batch):
    for start in range(0, len(x), batch):
        observer.update(x[start : start + batch])
    return observer


def test_min_max_of_groups():
    x = torch.tensor(
        [[[1.0, -2.0], [30.0, 40.0]], [[3.0, 0.0], [-5.0, 10.0]]]
    )  # 2 images, 2 groups
    low, high = seen(MinMax(), x, 1).range
    np.testing.assert_array_equal(low, [-2, -5])
    np.testing.assert_array_equal(high, [3, 40])


def test_ema_of_two_and_a_half_steps():
    """Steps of 10 images with maxima 1, 2 and, of the 5 left over, 4; minima -1, 0, 0."""
    x = images_of([1.0] * 9 + [-1.0] + [2.0] * 9 + [0.0] + [4.0] * 4 + [0.0])
    low, high = seen(Ema(), x, 4).range
    assert GROUP == 10
    second = 1 + 0.01 * (2 - 1), -1 + 0.01 * (0 + 1)
    np.testing.assert_allclose(high, second[0] + 0.01 * (4 - second[0]), rtol=1e-12)
    np.testing.assert_allclose(low, second[1] + 0.01 * (0 - second[1]), rtol=1e-12)


def test_a_range_may_be_asked_before_the_end():
    observer = seen(Ema(), images_of([1.0] * 12), 12)
    first, again = observer.range, observer.range
    assert first == again
    observer.update(images_of([5.0] * 8))  # completes the second step
    np.testing.assert_allclose(observer.range.high, 1 + 0.01 * 4)


def test_percentile_is_numpys_averaged_over_steps():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(23, 7, 2, 900)).astype(np.float32)  # two groups
    low, high = seen(Percentile(), torch.tensor(x), 6).range
    steps = [
        [np.quantile(x[i : i + GROUP, :, g].astype(float), q) for g in range(2)]
        for q in (1 - ALPHA, ALPHA)
        for i in range(0, 23, GROUP)
    ]
    for found, (a, b, c) in ((low, np.array(steps[:3])), (high, np.array(steps[3:]))):
        expected = a + 0.01 * (b - a)
        expected += 0.01 * (c - expected)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_percentile_leaves_out_a_single_outlier():
    x = np.zeros((10, 1, 1, 100_000), np.float32)
    x[3, 0, 0, :4], x[4, 0, 0, 7] = 50, -70  # 5 of a million; ALPHA leaves out 10 at each end
    assert seen(Percentile(), torch.tensor(x), 10).range == Range([0], [0])
    assert seen(MinMax(), torch.tensor(x), 10).range == Range([-70], [50])


@pytest.mark.parametrize("make", [MinMax, Ema, Percentile, lambda: Mean(MinMax())])
def test_batches_do_not_matter(make):
    x = torch.tensor(np.random.default_rng(1).normal(size=(37, 5, 3, 40)).astype(np.float32))
    results = [seen(make(), x, batch).range for batch in (1, 4, 10, 37)]
    for low, high in results[1:]:
        np.testing.assert_array_equal(low, results[0].low)
        np.testing.assert_array_equal(high, results[0].high)


def test_histogram_counts_everything_once():
    x = torch.linspace(-1, 3, 4 * BINS + 1).reshape(1, -1, 1, 1)
    for batch in (1, 3):
        histogram = Histogram(Range(np.array([-1.0]), np.array([3.0])))
        seen(histogram, x.reshape(-1, 1, 1, 1), len(x.flatten()) // batch)
        ((low, high, counts, centres),) = histogram.groups()
        assert (low, high) == (-1, 3) and counts.sum() == 4 * BINS + 1
        assert counts.min() >= 3 and counts.max() <= 5  # 4, and one more at the upper end
        np.testing.assert_allclose(centres, -1 + (np.arange(BINS) + 0.5) * 4 / BINS)


def test_mean():
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, 6.0]]], [[[5.0, 0.0]], [[7.0, 0.0]]]])
    np.testing.assert_array_equal(seen(Mean(MinMax()), x, 1).mean, [4.0, 2.0])


def outliers():
    """A million values of +-1 in 2,000 places, and one of 40: clipping it costs less than it."""
    x = np.append(np.linspace(-1, 1, 2000), 40.0)
    return x, np.append(np.full(2000, 500), 1)


def error(ends, x, counts, centred=False):
    return np.dot(counts, (choose.rounded(x, *ends, centred) - x) ** 2)


def test_omse_takes_the_best_of_ninety():
    x, counts = outliers()
    found = choose.omse(-1.0, 40.0, counts, x, False)
    tried = [(-1.0 * s, 40.0 * s) for s in observers.SHRINK]
    assert len(tried) == 90 and found in tried and found != tried[0]
    assert error(found, x, counts) == min(error(ends, x, counts) for ends in tried)


def test_the_high_end_is_cut_alone():
    x, counts = outliers()
    low, high = choose.cut_high_end(-1.0, 40.0, counts, x, False)
    assert low == -1 and high < 40
    tried = [error((-1.0, 40.0 * s), x, counts) for s in observers.SHRINK]
    assert error((low, high), x, counts) == min(tried) < tried[0]


@pytest.mark.parametrize("search", [choose.omse, choose.cut_high_end])
@pytest.mark.parametrize("centred", [True, False])
def test_nothing_is_cut_where_values_lie_evenly(search, centred):
    x = np.linspace(-3, 5, 5000)
    assert search(-3.0, 5.0, np.ones(5000), x, centred) == (-3.0, 5.0)


def test_which_tensors_are_searched():
    omse, best = QuantConfig(observer="omse"), QuantConfig()
    vit, swin = vit_steps(1), swin_steps((1,))
    (block,) = vit.blocks
    for step in (block.norm1, block.score, block.qkv, vit.norm, swin.pool):
        assert choose.search_of(step, omse) is choose.omse
        assert choose.search_of(step, best) is None
    for step in (vit.embed, swin.patch_embed, block.residual2, block.proj, block.fc1, vit.head):
        assert choose.search_of(step, omse) is None
    assert choose.search_of(block.gelu, omse) is choose.omse
    assert choose.search_of(block.gelu, best) is choose.cut_high_end
    int8 = QuantConfig(observer="omse", residual_operand="int8")
    assert choose.search_of(block.proj, int8) is choose.omse
