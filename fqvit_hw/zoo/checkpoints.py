"""Files of weights: read in the forms in which people publish them, and made to fit strictly."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from ..data.images import reason
from ..errors import UserError

FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")  # of a Hugging Face folder
WRAPPERS = ("model", "state_dict")  # where authors put the state dict beside other things
SETTINGS = ("mean", "std", "crop_pct", "crop_mode", "interpolation")


def file_of(path) -> Path:
    """`path`, or the file of weights in the Hugging Face folder `path`. Raises UserError."""
    path = Path(path)
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"{path}: no such file of weights")
        return path
    for name in FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    raise incomplete(path)


def incomplete(path) -> UserError:
    return UserError(
        f"{path}: a folder of weights must hold config.json and {' or '.join(FOLDER_FILES)}"
    )


def read_weights(path) -> dict:
    """.safetensors, .pth or .bin (bare, or under "model" or "state_dict"), or a folder of one.

    Returns the tensors by name. Raises UserError naming the file. A .pth is read with torch's
    restricted unpickler: it can hold tensors and plain values, not code.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = file_of(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # DeiT's training arguments
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a file of weights: {reason(error)}") from error
    except Exception as error:  # of any kind: UnpicklingError, a bare KeyError for text
        raise UserError(f"{path}: not a file of weights: {type(error).__name__}") from error
    for key in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(hasattr(t, "shape") for t in state.values()):
        raise UserError(f"{path}: expected tensors by name, bare or under {' or '.join(WRAPPERS)}")
    if state and all(name.startswith("module.") for name in state):  # saved from DataParallel
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def fit_weights(model, state: dict, path) -> None:
    """Load strictly. Raises UserError with the first names that do not fit."""
    own = model.state_dict()
    if set(state) != set(own):
        state = renamed(model, state)
    problems = {
        "missing": [n for n in own if n not in state],
        "unknown": [n for n in state if n not in own],
        "of another shape": [n for n in own if n in state and own[n].shape != state[n].shape],
    }
    found = [f"{len(n)} {kind} ({', '.join(n[:3])})" for kind, n in problems.items() if n]
    if found:
        raise UserError(f"{path}: the weights do not fit the model: {'; '.join(found)}")
    model.load_state_dict(state)


def renamed(model, state: dict) -> dict:
    """The names of the authors' own checkpoints turned into timm's, by timm's own rules.

    Swin's index and mask buffers go, its downsampling moves to the stage after. What timm would
    also do, resample weights of another image or patch size, is undone: it would be another model.
    """
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    try:
        found = convert(dict(state), model) if convert else state
    except Exception:  # written for timm's own files, it trips over foreign ones in many ways
        return state
    untouched = {id(tensor) for tensor in state.values()}
    return {
        name: state[name] if is_resampled(tensor, state.get(name), untouched) else tensor
        for name, tensor in found.items()
    }


def is_resampled(tensor, original, untouched: set[int]) -> bool:
    """Whether timm made `tensor` of `original`, of the same name, by interpolation."""
    if id(tensor) in untouched or original is None:
        return False
    return tensor.numel() != original.numel()


def settings_of_folder(path, name: str) -> dict:
    """Preprocessing that the config.json of a Hugging Face folder states; {} for a single file.

    name: the model that was asked for. Raises UserError if the folder is of another architecture.
    """
    file = Path(path) / "config.json"
    if not Path(path).is_dir():
        return {}
    file_of(path)
    if not file.is_file():
        raise incomplete(path)
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from error
    wanted = name.split(".")[0]
    got = config.get("architecture", wanted) if isinstance(config, dict) else None
    if got != wanted:
        raise UserError(f"{file}: the weights are of {got!r}, expected {wanted!r}")
    own = config.get("pretrained_cfg") or {}
    return {key: own[key] for key in SETTINGS if own.get(key) is not None}


def weights_sha256(model) -> str:
    """sha256 over name, dtype, shape and bytes of every tensor, whatever file they came from."""
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
