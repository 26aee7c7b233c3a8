"""The simulated integer LayerNorm: its multiplier, a case by hand, and constant tokens."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference engine needs torch")

from fqvit_hw.reference.layernorm import integer_layer_norm, mantissa_and_shift, standard_deviation  # noqa: E402


def layer(weight, bias):
    norm = torch.nn.LayerNorm(len(weight))
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(weight)), norm.bias.copy_(torch.tensor(bias))
    return norm.requires_grad_(False)


def test_the_multiplier_has_eight_bits_rounded_down():
    a = torch.tensor([1.0, 1.999, 0.75, 3.9, 255.0, 256.0, 1000.0, 2.0**-30, 0.0])
    M, N = mantissa_and_shift(a)
    assert M.tolist() == [128, 255, 192, 249, 255, 255, 255, 2, 0]
    assert N.tolist() == [7, 7, 8, 6, 0, 0, 0, 31, 31]


def test_every_multiplier_in_range_is_right_to_its_last_bit():
    a = torch.tensor(np.geomspace(2.0**-24, 255, 20_001), dtype=torch.float32)
    M, N = mantissa_and_shift(a)
    assert M.min() == 128 and M.max() == 255
    assert torch.all(a >= M / 2**N) and torch.all(a < (M + 1) / 2**N)


def test_a_token_by_hand():
    # codes less zero 1, -1 with factor 1 and 1, -1 with factor 2: X = 1, -1, 2, -2, std^2 = 2.5
    scale, out_scale = torch.tensor([0.5, 0.5, 1.0, 1.0]), torch.tensor(0.25)
    x = torch.tensor([[0.5, -0.5, 1.0, -1.0]])
    norm = layer([1.0, -1.0, 2.0, 1.0], [0.0, 0.5, 0.0, -1.0])
    # A = gamma / sqrt(2.5) / 0.25 = 2.5298, 2.5298, 5.0596, 2.5298: M = 161, 161, 161, 161
    # M X / 2^N = 2.5156, 2.5156, 10.0625, -5.03125; offsets 0, 2, 0, -4
    expected = [round(2.5156), round(4.5156), round(10.0625), round(-9.03125)]
    for guarded in (True, False):
        y = integer_layer_norm(x, norm, scale, out_scale, guarded)
        assert (y / out_scale).tolist() == [expected]


@pytest.mark.parametrize("guarded", [True, False])
def test_it_stays_near_the_float_layer_norm(guarded):
    generator = torch.Generator().manual_seed(1)
    X = torch.randint(-100, 101, (50, 96), generator=generator).float()
    scale = 0.02 * 2 ** torch.randint(0, 4, (96,), generator=generator)
    norm = layer((torch.rand(96, generator=generator) + 0.5).tolist(), [0.1] * 96)
    y = integer_layer_norm(X * scale, norm, scale, torch.tensor(0.03), guarded)
    error = (y - norm(X * scale)).abs() / 0.03
    # half a step, and 2^-7 of the uncentred product, of at most 800 / std(X) * 1.5 / 0.03 steps
    largest = 800 * scale.min() / (X * scale).std(-1, keepdim=True).min() * 1.5 / 0.03
    assert error.max() < 0.51 + largest / 128
    assert error.mean() < 0.5


@pytest.mark.parametrize("steps", [7, -3, 0])
def test_a_constant_token_gives_beta_where_the_authors_divide_by_zero(steps):
    C = 24
    x = torch.full((1, 2, C), 0.1 * steps)
    x[0, 1, 0] += 0.1  # the other token is not constant
    beta = [0.25 * i for i in range(C)]
    norm, scale, out = layer([1.5] * C, beta), torch.tensor(0.1), torch.tensor(0.25)
    y = integer_layer_norm(x, norm, scale, out)
    assert y[0, 0].tolist() == beta
    authors = integer_layer_norm(x, norm, scale, out, guarded=False)
    assert not torch.isfinite(authors[0, 0]).any()
    assert torch.isnan(authors[0, 0]).all() == (steps == 0)  # 0 / 0; otherwise infinity
    assert torch.isfinite(authors[0, 1]).all() and torch.isfinite(y).all()


def test_the_deviation_of_a_token_far_from_zero_survives_float32():
    X = torch.full((2, 768), 2000.0)
    X[0, :8] += 1
    exact = X.double().std(-1, correction=0, keepdim=True)
    found = standard_deviation(X, guarded=True)
    assert found[0].item() == pytest.approx(exact[0].item(), rel=1e-6) and found[1] == 0
    authors = standard_deviation(X, guarded=False)
    assert not abs(authors[0] - exact[0]) < 0.1 * exact[0]  # wrong, or NaN
    near = torch.arange(-384.0, 384).reshape(1, -1)
    assert float(standard_deviation(near, guarded=False)) == pytest.approx(
        near.std(correction=0).item()
    )
