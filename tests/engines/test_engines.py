"""Every engine on whole networks: all tensors of their traces equal the specification."""

from dataclasses import replace

import numpy as np
import pytest

from fqvit_hw import PRESETS, QuantConfig, QuantizedModel
from fqvit_hw.data import digits
from fqvit_hw.engines import fast, operations
from fqvit_hw.engines.fast.selfcheck import cases
from fqvit_hw.engines.numpy_ops import NumpyOps
from fqvit_hw.units import Attention, Requantize, Softmax
from tests.engines.same import assert_same
from tests.models import SWIN_SHAPE, random_images, tiny_quantized, tiny_quantized_swin

pytest.importorskip("torch", reason="making a network needs torch")

CONFIGS = {**PRESETS, "16-bit, uniform8": QuantConfig(stream_width=16, attention="uniform8")}
CONFIGS |= {mode: QuantConfig(attention=mode) for mode in ("lis4", "max3", "max5", "max8")}


@pytest.fixture(params=["fast", "torch"])
def engine(request):
    if request.param == "fast" and fast.available() is not None:
        pytest.skip(f"no fast engine: {fast.available()}")
    return request.param


@pytest.mark.parametrize("name", CONFIGS)
def test_vit(engine, name):
    assert_same(tiny_quantized(config=CONFIGS[name]), random_images(5, seed=3), engine=engine)


@pytest.mark.parametrize("name", CONFIGS)
def test_swin(engine, name):
    qm = tiny_quantized_swin(config=CONFIGS[name])
    assert_same(qm, random_images(3, seed=3, shape=SWIN_SHAPE), engine=engine)
    images = random_images(2, seed=4, shape=(3, 31, 27))
    for ours, spec in zip(
        qm.features(images, engine=engine), qm.features(images, engine="numpy"), strict=True
    ):
        np.testing.assert_array_equal(ours.codes, spec.codes)
    assert [m.codes.shape[0] for m in qm.features(images[:0], engine=engine)] == [0, 0]


def test_digits(engine):
    qm = QuantizedModel.load(digits.NETWORK_FILE)
    images = digits.test_set()[0][:40]
    assert_same(qm, images, engine=engine)
    assert qm.run(images[:0], engine=engine).shape == (0, 10)


def test_extremes_of_every_operation(engine):
    """Saturation, dead channels, 32-bit outputs, masks, row sums: the cases of the self-check."""
    spec, ops = NumpyOps(), operations(engine)
    checked = 0
    for name, arguments in cases(np.random.default_rng(0)):
        first, *others = arguments
        streams = [i for i, a in enumerate(others) if name.endswith("residual") and is_codes(a)]
        for i in streams:
            others[i] = ops.array(others[i])
        got = ops.numpy(getattr(ops, name)(ops.array(first), *others))
        expected = getattr(spec, name)(*arguments)
        assert got.dtype == expected.dtype, name
        np.testing.assert_array_equal(got, expected, err_msg=name)
        checked += 1
    assert checked > 12


def is_codes(argument) -> bool:
    return isinstance(argument, np.ndarray)


def test_a_flipped_bit_is_seen(engine):
    """The comparison is trusted because it fails when one weight differs in one bit."""
    qm = tiny_quantized()
    head = qm.network.head
    weight = head.weight.copy()
    weight[0, 0] ^= 1
    other = replace(qm, network=replace(qm.network, head=replace(head, weight=weight)))
    images = random_images(5, seed=3)
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(
            qm.run(images, engine="numpy"), other.run(images, engine=engine)
        )


def test_the_tie_of_log_int_softmax(engine):
    """S / e = 2.5 exactly: the one comparison that is strict."""
    one = Requantize(1 << 15, 15, 0, 8)
    table = np.zeros(256, np.int64)
    table[:2] = 3, 2
    p = Attention(one, Softmax(table), one)
    qkv = np.array([[[1, 1, 100], [1, 0, -50]]], np.int8)  # scores 1 and 0, e = 3 and 2, S = 5
    ops, codes = operations(engine), {}
    ops.attention(ops.array(qkv), 1, p, record=lambda n, t: codes.update({n: ops.numpy(t)}))
    assert codes["softmax"].tolist() == [[[[1, 1], [1, 1]]]]
