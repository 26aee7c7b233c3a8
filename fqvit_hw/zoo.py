"""Float models by name: timm's, and the built-in digits network."""

from __future__ import annotations

from pathlib import Path

from .errors import UserError


def load_model(name: str, weights: Path | None = None):
    """A timm model in eval mode, with the weights of a file or timm's own pretrained ones.

    Raises UserError for an unknown name, for weights that do not fit (first few names), and if the
    pretrained weights cannot be downloaded; TypeError or ValueError for a model that cannot become
    integers or weights that are not finite.
    """
    from .calibrate.supported import check_supported
    from .calibrate.timm_compat import import_timm

    timm = import_timm()
    if not timm.is_model(name):
        raise UserError(f"unknown model {name!r}: expected a name of timm")
    model = timm.create_model(name).eval()
    check_supported(model)  # before weights are downloaded or read
    if weights is None:
        model = download(timm, name)
    else:
        fit_weights(model, read_weights(weights), weights)
    check_supported(model)
    return model


def download(timm, name: str):
    try:
        return timm.create_model(name, pretrained=True).eval()
    except Exception as error:  # the hub's client raises many kinds, none of them ours
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"no weights for {name}: timm could not download them ({reason}); connect to the "
            "network, or pass --weights FILE (.safetensors or .pth)"
        ) from error


def read_weights(path: Path) -> dict:
    """.safetensors, or a .pth that holds a state dict (under "model" as DeiT's, or bare)."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise UserError(f"{path}: no such file of weights")
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not a file of weights: {error}") from error
    except Exception as error:  # pickle.UnpicklingError and what a hostile pickle provokes
        raise UserError(f"{path}: not a file of weights: {type(error).__name__}") from error
    state = state.get("model", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(hasattr(t, "shape") for t in state.values()):
        raise UserError(f"{path}: expected tensors by name")
    return state


def fit_weights(model, state: dict, path) -> None:
    """Load strictly. Raises UserError with the first names that do not fit."""
    own = model.state_dict()
    problems = {
        "missing": [n for n in own if n not in state],
        "unknown": [n for n in state if n not in own],
        "of another shape": [n for n in own if n in state and own[n].shape != state[n].shape],
    }
    found = [f"{len(n)} {kind} ({', '.join(n[:3])})" for kind, n in problems.items() if n]
    if found:
        raise UserError(f"{path}: the weights do not fit the model: {'; '.join(found)}")
    model.load_state_dict(state)
