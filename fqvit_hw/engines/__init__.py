"""Ways to run an integer network: numpy is the specification, the others equal it bit for bit.

numpy: the units one after the other. fast: the same integers by compiled kernels on the CPU.
torch: the same integers on any torch device.
"""

from __future__ import annotations

import functools

import numpy as np

from ..network import SwinTransformer
from .numpy_ops import NumpyOps
from .walk import Walk

ENGINES = ("fast", "numpy", "torch")


def operations(engine: str | None = None, device: str | None = None):
    """The operations of an engine by name. None: torch if a device is given, else the best.

    Raises ValueError for an unknown engine, for a device that is not there, and for a device given
    to an engine of the CPU; ImportError for an engine whose packages are missing.
    """
    if engine is None:
        engine = "torch" if device else default_engine()
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; there is {', '.join(ENGINES)}")
    if device is not None and engine != "torch":
        raise ValueError(f"engine {engine!r} runs on the CPU only; a device needs engine='torch'")
    return made(engine, device)


@functools.cache  # engines keep what they prepared of a network's parameters
def made(engine: str, device: str | None):
    if engine == "torch":
        from .torch_ops import TorchOps

        return TorchOps(device or "cpu")
    if engine == "fast":
        from .fast import FastOps

        return FastOps()
    return NumpyOps()


def default_engine() -> str:
    """fast where it can be built, else numpy."""
    from . import fast

    return "numpy" if fast.available() else "fast"


def run(network, images, record=None, *, engine=None, device=None) -> np.ndarray:
    """images: uint8 (B, C, H, W) -> logits int32 (B, classes).

    record(name, tensor), if given, sees every tensor that passes between two units, with the batch
    axis first, in the order of the data flow. Raises TypeError or ValueError for wrong images.
    """
    check_images(images, network.image_shape)
    ops = operations(engine, device)
    return ops.numpy(Walk(network, ops, record).logits(ops.array(images)))


def features(network, images, *, engine=None, device=None) -> dict[str, np.ndarray]:
    """images: uint8 (B, C, H, W), any H and W -> the stream after each stage, (B, h, w, C) codes,
    by name.

    Raises TypeError for a network without stages.
    """
    if not isinstance(network, SwinTransformer):
        raise TypeError(f"features: expected a Swin network, got a {type(network).__name__}")
    check_images(images, (network.channels, None, None))
    ops = operations(engine, device)
    stages = zip(
        network.steps.stages, Walk(network, ops).swin_stages(ops.array(images)), strict=True
    )
    return {  # (B, N, C) -> (B, h, w, C)
        stage.output.name: ops.numpy(x).reshape(len(images), *grid, x.shape[-1])
        for stage, (x, grid) in stages
    }


def check_images(images, shape: tuple) -> None:
    """Raises TypeError unless images is a uint8 array, ValueError unless it is (B, *shape)."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        got = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"images: expected a numpy array of uint8, got {got}")
    fits = images.ndim == 4 and all(
        n == wanted or (wanted is None and n > 0)
        for n, wanted in zip(images.shape[1:], shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"images: expected shape (B, {wanted}), got {images.shape}")
