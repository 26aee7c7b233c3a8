"""The network file: nested frozen dataclasses in one .safetensors file, without torch.

Arrays become tensors named by their path ("network.blocks.0.qkv.weight"), every other value goes
into one JSON tree in the metadata, and a sha256 over both is checked on load. What the file holds
follows from the dataclasses alone: load reads their annotations and runs all of their checks.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialize

from ..errors import UserError
from ..files import write_atomically

FORMAT, VERSION = "fqvit_hw.network", 3
WRONG = ValueError, TypeError, OverflowError, KeyError, AttributeError  # damaged content
KEY = "fqvit_hw"  # one metadata key: safetensors writes several in no fixed order

T = TypeVar("T")  # a dataclass


def flatten(value, path: str, tensors: dict):
    """Put the arrays below `value` into `tensors`; returns the rest as a JSON tree."""
    if is_dataclass(value):
        parts = {f.name: getattr(value, f.name) for f in fields(value)}
        return flatten(parts, path, tensors)
    if isinstance(value, dict):
        return {k: flatten(v, f"{path}.{k}" if path else k, tensors) for k, v in value.items()}
    if isinstance(value, tuple):
        return [flatten(v, f"{path}.{i}", tensors) for i, v in enumerate(value)]
    if isinstance(value, np.ndarray):
        tensors[path] = np.array(value, order="C")
        return None
    return value


def restore(kind: Any, tree, path: str, tensors: dict) -> Any:
    """The inverse of flatten for a value annotated as `kind`; uses up the tensors it takes."""
    if get_origin(kind) is UnionType:  # of dataclasses, told apart by the names of their fields
        kind = next((k for k in get_args(kind) if has_fields(tree, k)), get_args(kind)[0])
    if is_dataclass(kind):
        return restore_fields(kind, tree, path, tensors)
    if get_origin(kind) is dict:
        of = get_args(kind)[1]
        return {k: restore(of, v, f"{path}.{k}", tensors) for k, v in tree.items()}
    if get_origin(kind) is tuple:
        of = get_args(kind)[0]
        return tuple(restore(of, v, f"{path}.{i}", tensors) for i, v in enumerate(tree))
    if kind is np.ndarray:
        if path not in tensors:
            raise ValueError(f"tensor {path} is missing")
        return tensors.pop(path)
    if type(tree) is not kind:
        raise ValueError(f"{path}: expected {kind.__name__}, got {tree!r}")
    return tree


def restore_fields(kind: Any, tree, path: str, tensors: dict):
    """A dataclass from the values of its fields; it runs its own checks."""
    if not has_fields(tree, kind):
        raise ValueError(f"{path or 'file'} has not the fields of {kind.__name__}")
    hints, names = get_type_hints(kind), [f.name for f in fields(kind)]
    return kind(
        **{n: restore(hints[n], tree[n], f"{path}.{n}" if path else n, tensors) for n in names}
    )


def has_fields(tree, kind) -> bool:
    return isinstance(tree, dict) and set(tree) == {f.name for f in fields(kind)}


def digest(tree, tensors: dict) -> str:
    """sha256 over the tree and over name, dtype, shape and bytes of every tensor, little-endian."""
    sha = hashlib.sha256(json.dumps(tree, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        little = array.astype(array.dtype.newbyteorder("<"))
        sha.update(f"{name} {little.dtype.str} {little.shape}\n".encode())
        sha.update(little.tobytes())
    return sha.hexdigest()


def content_sha256(model) -> str:
    """The digest of a dataclass's contents, whatever engine runs it."""
    tensors = {}
    tree = flatten(model, "", tensors)
    return digest(tree, tensors)


def save(model, path) -> None:
    """Write the dataclass `model` to `path`: to a temporary name first, then renamed."""
    tensors = {}
    tree = flatten(model, "", tensors)
    header = {"format": FORMAT, "version": VERSION, "sha256": digest(tree, tensors), "tree": tree}
    tensors = {name: tensors[name] for name in sorted(tensors)}
    write_atomically(path, serialize(tensors, {KEY: json.dumps(header, sort_keys=True)}))


def load(kind: type[T], path) -> T:
    """Read a dataclass of type `kind`. Raises UserError naming the file, or OSError."""
    content = Path(path).read_bytes()
    try:
        header = read_header(content)
        tensors = parse(content)
        if header["sha256"] != digest(header["tree"], tensors):
            raise ValueError("its sha256 does not match its contents")
        model = restore(kind, header["tree"], "", tensors)
        if tensors:
            raise ValueError(f"unknown tensor {min(tensors)}")
    except (SafetensorError, *WRONG) as error:
        raise UserError(f"{path}: not a network file of fqvit_hw, or damaged: {error}") from error
    return model


def read_header(content: bytes) -> dict:
    """The JSON of our metadata key. Raises ValueError for a foreign or truncated file."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > len(content) - 8:
        raise ValueError("no safetensors header")
    metadata = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    if KEY not in metadata:
        raise ValueError(f"its metadata has no key {KEY!r}")
    header = json.loads(metadata[KEY])
    if header["format"] != FORMAT or header["version"] != VERSION:
        raise ValueError(
            f"expected {FORMAT} version {VERSION}, got {header['format']} {header['version']}"
        )
    return header
