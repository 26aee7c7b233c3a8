"""Float models by name: the eight of the paper (`paper_models`), and whatever else timm builds of
their kind."""

from __future__ import annotations

import contextlib
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import UserError
from ..paper_models import PAPER_MODELS, timm_name
from . import reach
from .checkpoints import fit_weights, read_weights, settings_of_folder


def load_model(name: str, weights: Path | None = None, image_size: tuple | None = None):
    """A timm model in eval mode, with the weights of a file or folder or timm's own pretrained.

    image_size: (height, width) that a Swin is built for, by default the model's own.

    Raises UserError for an unknown name, for weights that do not fit (first few names), and if the
    pretrained weights cannot be downloaded; TypeError or ValueError for a model that cannot become
    integers or weights that are not finite.
    """
    from ..calibrate.supported import check_supported
    from ..timm_compat import import_timm

    timm = import_timm()
    full = timm_name(name)
    if not timm.is_model(full):
        raise UserError(
            f"unknown model {name!r}: expected {', '.join(PAPER_MODELS)}, or a name of timm"
        )
    size: dict[str, Any] = {} if image_size is None else {"img_size": tuple(image_size)}
    if size and not full.startswith("swin"):
        raise UserError(f"{name}: only a Swin takes another image size than its own")
    try:
        model = timm.create_model(full, **size).eval()
    except RuntimeError as error:  # timm's word for a tag that does not exist
        raise UserError(f"unknown model {name!r}: {error}") from error
    check_supported(model)  # before weights are downloaded or read
    if weights is None:
        model = download(timm, full, size)
    else:
        settings = settings_of_folder(weights, full)
        fit_weights(model, read_weights(weights), weights)
        # torch types every attribute of a module as a Tensor or a Module
        model.pretrained_cfg |= settings  # pyright: ignore[reportOperatorIssue]  # a dict
    check_supported(model)
    return model


def download(timm, name: str, size: dict[str, Any]):
    """timm's pretrained weights, from its cache or the network; at once if there is neither."""
    reason = why_offline()
    try:
        with offline() if reason else contextlib.nullcontext():
            return timm.create_model(name, pretrained=True, **size).eval()
    except Exception as error:  # the hub's client raises many kinds, none of them ours
        reason = reason or " ".join(str(error).split())[:200]
        raise UserError(
            f"no weights for {name}: timm could not download them ({reason}); connect to the "
            "network, or pass --weights FILE (.pth, .safetensors or a Hugging Face folder)"
        ) from error


def why_offline() -> str | None:
    """Why the Hugging Face hub, or the proxy on the way to it, cannot be reached; None if it can.

    Its client would retry for most of a minute.
    """
    from huggingface_hub import constants

    hub = urlsplit(constants.ENDPOINT)
    proxy = urllib.request.getproxies().get(hub.scheme)
    if proxy and not urllib.request.proxy_bypass(hub.hostname or ""):
        hub = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = hub.port or (80 if hub.scheme == "http" else 443)
    reason = reach.why_unreachable(hub.hostname or "", port)
    return reason and f"{hub.hostname}: {reason}"


@contextlib.contextmanager
def offline():
    """Within, the hub's client looks into its cache only."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
