"""The integer network and its file: exact round trip, and one clear error for anything else."""

import json
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from fqvit_hw import QuantizedModel, files
from fqvit_hw.data import digits
from fqvit_hw.network import file as netfile


@pytest.fixture(scope="module")
def model():
    return QuantizedModel.load(digits.NETWORK_FILE)


def same(a, b):
    """Recursive equality of dataclasses, with dtypes."""
    assert type(a) is type(b)
    if is_dataclass(a):
        for f in fields(a):
            same(getattr(a, f.name), getattr(b, f.name))
    elif isinstance(a, tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


def test_round_trip_is_exact_and_byte_deterministic(model, tmp_path):
    path = tmp_path / "net.safetensors"
    model.save(path)
    assert path.read_bytes() == digits.NETWORK_FILE.read_bytes()
    same(QuantizedModel.load(path), model)
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_files_are_small():
    size = digits.NETWORK_FILE.stat().st_size + digits.FLOAT_FILE.stat().st_size
    assert size < 1_000_000


def refused(path, content: bytes, match: str):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as caught:
        QuantizedModel.load(path)
    assert str(path) in str(caught.value)


def test_every_kind_of_damage_is_found(tmp_path):
    path, good = tmp_path / "bad.safetensors", digits.NETWORK_FILE.read_bytes()
    refused(path, b"", "header")
    refused(path, b"no network at all", "damaged")
    for size in (4, 100, len(good) // 2, len(good) - 1):
        refused(path, good[:size], "damaged")
    for position in np.random.default_rng(1).integers(0, len(good), 40):
        flipped = bytearray(good)
        flipped[position] ^= 1 << (position % 8)
        refused(path, bytes(flipped), "damaged")


def test_foreign_files_and_versions_are_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": np.zeros(3, np.float32)}, path)
    refused(path, path.read_bytes(), "metadata")
    refused(path, digits.FLOAT_FILE.read_bytes(), "metadata")
    good = digits.NETWORK_FILE.read_bytes()
    this = b'\\"version\\": ' + str(netfile.VERSION).encode()
    newer = good.replace(this, b'\\"version\\": ' + str(netfile.VERSION + 1).encode())
    assert newer != good
    refused(path, newer, f"version {netfile.VERSION}")
    with pytest.raises(FileNotFoundError):
        QuantizedModel.load(tmp_path / "absent.safetensors")


def test_checks_run_on_load(tmp_path, model, monkeypatch):
    """A file with a right sha256 but parts that do not fit together is refused too."""
    tensors = {}
    tree = netfile.flatten(model, "", tensors)
    tree["network"]["blocks"][1]["heads"] = 5
    header = {"format": netfile.FORMAT, "version": netfile.VERSION, "tree": tree}
    header["sha256"] = netfile.digest(tree, tensors)
    path = tmp_path / "net.safetensors"
    content = netfile.serialize(tensors, {netfile.KEY: json.dumps(header)})
    refused(path, content, "blocks.1.qkv")


def test_nothing_half_written(tmp_path, model, monkeypatch):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_file_that_cannot_be_written_is_named(tmp_path, model):
    path = tmp_path / "absent" / "net.safetensors"
    with pytest.raises(OSError) as raised:
        model.save(path)
    assert raised.value.filename == str(path)


def test_parts_must_fit(model):
    network = model.network
    with pytest.raises(ValueError, match="head"):
        replace(network, head=replace(network.head, weight=network.head.weight[:, 1:]))
    with pytest.raises(ValueError, match=r"blocks\.0\.norm1"):
        replace(network, embed=replace(network.embed, zero=network.embed.zero + 1))
    with pytest.raises(ValueError, match="patch"):
        replace(network, patch=3)
    bias = network.head.bias.copy()
    bias[0] = 2**31 - 1
    with pytest.raises(ValueError, match=r"head: the accumulator could overflow.* needs 33 bits"):
        replace(network, head=replace(network.head, bias=bias))
    with pytest.raises(ValueError, match="pos_embed"):
        replace(network, pos_embed=network.pos_embed[1:])
    with pytest.raises(ValueError, match=r"pos_embed: expected int8"):
        replace(network, pos_embed=network.pos_embed.astype(np.int16) + 256)
    moved = replace(network.embed, x_zero=1)
    with pytest.raises(ValueError, match="embed expects positions with zero point 0"):
        replace(network, embed=moved)
