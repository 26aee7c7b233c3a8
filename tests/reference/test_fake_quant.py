"""Quantize-dequantize on cases that can be checked by hand."""

import pytest

torch = pytest.importorskip("torch", reason="the reference engine needs torch")

from fqvit_hw.reference.fake_quant import Uniform, fake_quantize_weight  # noqa: E402


def test_the_codes_span_the_range_and_zero_is_exact():
    point = Uniform.of_range(torch.tensor(-1.0), torch.tensor(4.1))
    assert float(point.scale) == pytest.approx(5.1 / 255) and point.zero == 50
    x = torch.tensor([0.0, 0.02, 0.029, 0.031, -0.011, 4.1, 9.0, -9.0])
    codes = torch.round(point.fake_quantize(x) / point.scale)
    assert codes.tolist() == [0, 1, 1, 2, -1, 205, 205, -50]
    assert point.fake_quantize(torch.zeros(1)) == 0


def test_rounding_is_half_to_even_after_the_zero_point():
    point = Uniform(torch.tensor(1.0), torch.tensor(3.0))
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5])  # 3.5, 4.5, 5.5, 2.5, 1.5 with the zero point
    assert point.fake_quantize(x).tolist() == [1, 1, 3, -1, -1]


def test_a_range_without_zero_saturates_as_the_authors_does():
    point = Uniform.of_range(torch.tensor(10.0), torch.tensor(20.2))
    assert point.zero == 0
    assert float(point.fake_quantize(torch.tensor(15.0))) == pytest.approx(10.2)
    point = Uniform.of_range(torch.tensor(-20.2), torch.tensor(-10.0))
    assert point.zero == 255
    assert float(point.fake_quantize(torch.tensor(-15.0))) == pytest.approx(-10.2)


def test_a_tensor_of_zeros_stays_zero():
    point = Uniform.of_range(torch.tensor(0.0), torch.tensor(0.0))
    assert point.fake_quantize(torch.zeros(4)).tolist() == [0, 0, 0, 0]


def test_a_scale_per_channel_lies_along_the_last_axis():
    point = Uniform(torch.tensor([1.0, 4.0]), torch.tensor(128.0))
    assert point.fake_quantize(torch.tensor([[5.0, 5.0], [7.0, 7.0]])).tolist() == [[5, 4], [7, 8]]


@pytest.mark.parametrize("shape", [(3, 4), (3, 1, 2, 2)], ids=["linear", "convolution"])
def test_weights_have_a_symmetric_scale_per_output_channel(shape):
    w = torch.tensor([[127.5, 63.5, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0], [-255.0, 3.0, 1.0, -7.0]])
    found = fake_quantize_weight(w.reshape(shape)).reshape(3, 4)
    assert found[0].tolist() == [127, 64, 0, 0]  # scale 1: 127.5 steps saturate, halves go even
    assert found[1].tolist() == [0, 0, 0, 0]
    assert found[2].tolist() == [-256, 4, 0, -8]  # scale 2: -127.5 is -128
