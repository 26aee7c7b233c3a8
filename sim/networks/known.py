"""Networks and images to run on the accelerator."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from fqvit_hw.config import load_config
from fqvit_hw.data import digits
from fqvit_hw.errors import UserError
from fqvit_hw.model import QuantizedModel
from fqvit_hw.network import VisionTransformer

CALIBRATION = 4  # images; enough for equality, too few for accuracy
WEIGHT_STEP = 0.02  # of the random weights: what a ViT is initialized with


def built_in() -> tuple[QuantizedModel, np.ndarray]:
    """The digits network and its held-out test images, uint8 (360, 1, 8, 8)."""
    return QuantizedModel.load(digits.NETWORK_FILE), digits.test_set()[0]


def from_file(path: Path, data: Path | None) -> tuple[QuantizedModel, np.ndarray]:
    """A network file, and the images of a folder; random ones without a folder."""
    qm = QuantizedModel.load(path)
    if not isinstance(qm.network, VisionTransformer):
        raise UserError(f"{path}: expected a ViT or DeiT, got a Swin")
    shape = qm.network.image_shape
    if data is None:
        return qm, random_images(10, shape)
    from fqvit_hw.data.images import Preprocessing, load_images

    return qm, load_images(data, Preprocessing(shape[1:], shape[0])).images


def random_images(count: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Soft random pictures: pixels of pure noise would look alike to a network."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, shape[0], -(-shape[1] // 8), -(-shape[2] // 8)))
    soft = coarse.repeat(8, 2).repeat(8, 3)[:, :, : shape[1], : shape[2]]
    return np.clip(soft + rng.integers(-32, 33, soft.shape), 0, 255).astype(np.uint8)


def from_timm(
    name: str, weights: Path | None, image: Path | None, config: str = "best"
) -> tuple[QuantizedModel, np.ndarray]:
    """A timm ViT or DeiT as integers, and one image: given ones, else random from a fixed seed."""
    from fqvit_hw import quantize
    from fqvit_hw.data.images import Preprocessing

    model = random_model(name) if weights is None else timm_model(name, weights)
    pixels = Preprocessing.of_model(model)
    shape = (pixels.channels, *pixels.size)
    images = random_images(CALIBRATION, shape)
    if image is not None:
        try:
            images[0] = pixels.read(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{image}: not an image ({error})") from error
    return quantize(model, images, load_config(config)[1]), images[:1]


def cached(
    name: str, weights: Path | None, folder: Path, config: str = "best"
) -> tuple[QuantizedModel, np.ndarray]:
    """from_timm with a random image; the network is kept in `folder`, by its weights."""
    content = b"random" if weights is None else weights.read_bytes()
    kept = folder / f"{name}-{config}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    if not kept.exists():
        qm, images = from_timm(name, weights, None, config)
        folder.mkdir(parents=True, exist_ok=True)
        qm.save(kept)
        return qm, images
    qm = QuantizedModel.load(kept)
    return qm, random_images(CALIBRATION, qm.network.image_shape)[:1]


def timm_model(name: str, weights: Path):
    from fqvit_hw.zoo.models import load_model

    return load_model(name, weights)


def random_model(name: str):
    """timm's architecture with every parameter moved off its initialization."""
    from fqvit_hw.paper_models import PAPER_MODELS, timm_name
    from fqvit_hw.timm_compat import import_timm

    timm = import_timm()
    import torch

    if not timm.is_model(timm_name(name)):
        raise UserError(f"unknown model {name!r}: expected {', '.join(PAPER_MODELS)}")
    torch.manual_seed(0)
    model = timm.create_model(timm_name(name)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(WEIGHT_STEP * torch.randn_like(parameter))
    return model
