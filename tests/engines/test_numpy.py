"""The numpy engine: integers only, no torch, one image at a time or many, clear refusals."""

import subprocess
import sys
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

from fqvit_hw import QuantizedModel
from fqvit_hw.data import digits


@pytest.fixture(scope="module")
def model():
    return QuantizedModel.load(digits.NETWORK_FILE)


@pytest.fixture(scope="module")
def images():
    return digits.test_set()[0][:6]


asarray = np.asarray  # the real one: the test below puts a watching one in its place


class NoFloat(np.ndarray):
    """An array that fails when a float enters or leaves any numpy function; infectious."""

    seen = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        check(inputs, out, kwargs)
        if out is not None:
            kwargs["out"] = plain(out)
        result = getattr(ufunc, method)(*plain(inputs), **plain(kwargs))
        return watched(result)

    def __array_function__(self, function, types, args, kwargs):
        check(args, kwargs)
        return watched(function(*plain(args), **plain(kwargs)))


def leaves(value):
    if isinstance(value, list | tuple):
        for v in value:
            yield from leaves(v)
    elif isinstance(value, dict):
        yield from leaves(list(value.values()))
    else:
        yield value


def check(*values):
    for leaf in leaves(values):
        assert not isinstance(leaf, float | complex | np.inexact), f"float scalar {leaf}"
        if isinstance(leaf, np.ndarray | np.generic):
            assert leaf.dtype.kind in "iub", f"floating array {leaf.dtype}"
        elif isinstance(leaf, type | np.dtype) and leaf not in (type(None),):
            assert np.dtype(leaf).kind in "iub", f"floating dtype {leaf}"


def plain(value):
    if isinstance(value, NoFloat):
        return value.view(np.ndarray)
    if isinstance(value, list | tuple):
        return type(value)(plain(v) for v in value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def watched(value):
    check(value)
    if isinstance(value, np.ndarray | np.generic):
        NoFloat.seen += 1
        return asarray(value).view(NoFloat)
    if isinstance(value, tuple):
        return tuple(watched(v) for v in value)
    return value


def watching(function):
    """`function` for NoFloat arguments."""

    def call(*args, **kwargs):
        check(args, kwargs)
        return watched(function(*plain(args), **plain(kwargs)))

    return call


def watch_parameters(params):
    """Every array in nested dataclasses becomes a NoFloat."""
    for field in fields(params):
        value = getattr(params, field.name)
        if isinstance(value, np.ndarray):
            object.__setattr__(params, field.name, value.view(NoFloat))
        for part in value if isinstance(value, tuple) else (value,):
            if is_dataclass(part):
                watch_parameters(part)


def test_no_float_at_any_step(images, monkeypatch):
    model = QuantizedModel.load(digits.NETWORK_FILE)
    expected = model.run(images, engine="numpy")
    watch_parameters(model.network)
    for name in ("array", "asarray", "ascontiguousarray"):  # they drop their argument's class
        monkeypatch.setattr(np, name, watching(getattr(np, name)))
    NoFloat.seen = 0
    kinds = {}
    record = lambda name, t: kinds.update({name: (type(t), t.dtype.kind)})  # noqa: E731
    logits = model.run(images.view(NoFloat), engine="numpy", record=record)
    monkeypatch.undo()
    assert NoFloat.seen > 3000  # the guard did see the arithmetic, to the end
    assert set(kinds.values()) <= {(NoFloat, "i"), (NoFloat, "u")}
    np.testing.assert_array_equal(plain(logits), expected)


def test_the_guard_catches_a_float():
    x = np.arange(4).view(NoFloat)
    for bad in (lambda: x / 2, lambda: x * 1.0, lambda: np.sqrt(x), lambda: np.mean(x)):
        with pytest.raises(AssertionError, match="float"):
            bad()


def test_running_imports_no_torch():
    code = (
        "import sys; from fqvit_hw import QuantizedModel; from fqvit_hw.data import digits; "
        "m = QuantizedModel.load(digits.NETWORK_FILE); y = m.run(digits.test_set()[0][:2]); "
        "assert y.shape == (2, 10), y.shape; "
        "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules); print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "fine\n", done.stderr


def test_batch_equals_single_and_trace(model, images):
    logits = model.run(images, engine="numpy")
    assert logits.dtype == np.int32 and logits.shape == (6, 10)
    for image, expected in zip(images, logits, strict=True):
        np.testing.assert_array_equal(model.run(image[None], engine="numpy")[0], expected)
        np.testing.assert_array_equal(model.trace(image)["head"], expected)
    assert model.run(images[:0], engine="numpy").shape == (0, 10)


def test_trace_names_order_and_shapes(model, images):
    steps = model.trace(images[0])
    block = "norm1 qkv.acc qkv attn.score.acc attn.score attn.softmax attn.context.acc "
    block += "attn.row_reciprocal attn.row_shift attn.context.normalized attn.context "
    block += "proj.acc proj residual1 norm2 fc1.acc fc1 gelu fc2.acc fc2 residual2"
    names = ["image", "patch_embed.acc", "patch_embed", "embed"]
    names += [f"blocks.{i}.{step}" for i in range(4) for step in block.split()]
    names += ["norm", "head.acc", "head"]
    assert list(steps) == names
    shapes = {
        "image": (16, 4),
        "embed": (17, 64),
        "blocks.0.qkv": (17, 192),
        "blocks.0.attn.score": (4, 17, 17),
        "blocks.3.attn.context": (4, 17, 16),
        "blocks.2.fc1": (17, 128),
        "norm": (64,),
    }
    assert {name: steps[name].shape for name in shapes} == shapes
    with pytest.raises(ValueError, match="one image"):
        model.trace(images)


@pytest.mark.parametrize(
    ("bad", "error", "match"),
    [
        (lambda x: x.astype(np.float32), TypeError, "uint8, got float32"),
        (lambda x: x.astype(np.int64), TypeError, "uint8, got int64"),
        (lambda x: x.tolist(), TypeError, "uint8, got list"),
        (lambda x: x[0], ValueError, r"\(B, 1, 8, 8\), got \(1, 8, 8\)"),
        (lambda x: x[..., :7], ValueError, r"got \(6, 1, 8, 7\)"),
        (lambda x: x.repeat(3, 1), ValueError, r"got \(6, 3, 8, 8\)"),
    ],
)
def test_wrong_images(model, images, bad, error, match):
    with pytest.raises(error, match=match):
        model.run(bad(images))


def test_unknown_engine(model, images):
    with pytest.raises(ValueError, match="numpy"):
        model.run(images, engine="quantum")


def test_heads_matter(model, images):
    """Negative control: a network that differs in one weight gives other logits."""
    network = model.network
    weight = network.blocks[0].fc1.weight.copy()
    weight[0] = -weight[0]
    block = replace(network.blocks[0], fc1=replace(network.blocks[0].fc1, weight=weight))
    other = replace(model, network=replace(network, blocks=(block, *network.blocks[1:])))
    assert np.any(other.run(images, engine="numpy") != model.run(images, engine="numpy"))
