"""The torch engine's devices and precision; that it equals the specification: test_engines.py."""

import pytest

from fqvit_hw import QuantizedModel, engines
from fqvit_hw.data import digits
from tests.engines.same import assert_same
from tests.models import SWIN_SHAPE, random_images, tiny_quantized, tiny_quantized_swin

torch = pytest.importorskip("torch", reason="the torch engine needs torch")


def test_a_device_that_is_not_there():
    qm = QuantizedModel.load(digits.NETWORK_FILE)
    images = digits.test_set()[0][:1]
    absent = ["nonsense", "meta"] + ([] if torch.cuda.is_available() else ["cuda"])
    for device in absent:
        with pytest.raises(ValueError, match=f"device '{device}' is not available here"):
            qm.run(images, device=device)
    with pytest.raises(ValueError, match="engine 'numpy' runs on the CPU only"):
        qm.run(images, engine="numpy", device="cuda")


def test_a_lower_precision_of_the_callers_is_put_aside_and_back():
    qm = QuantizedModel.load(digits.NETWORK_FILE)
    images = digits.test_set()[0][:3]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        seen = []
        qm.run(
            images,
            engine="torch",
            record=lambda *_: seen.append(torch.get_float32_matmul_precision()),
        )
        assert "highest" in seen  # inside an operation
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_one_set_of_operations_per_device():
    assert engines.operations(None, "cpu") is engines.operations("torch", "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda():
    assert_same(tiny_quantized(), random_images(5, seed=3), engine="torch", device="cuda")
    images = random_images(3, seed=3, shape=SWIN_SHAPE)
    assert_same(tiny_quantized_swin(), images, engine="torch", device="cuda")
