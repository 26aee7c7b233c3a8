"""QuantizedModel: an integer network with what is needed to use it and to report on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import netfile
from .config import QuantConfig
from .engines import engine_named
from .network import VisionTransformer
from .scale import Scale


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """network: the integers; logit_scale: real logit = logit_scale * int32 logit.

    config: how it was calibrated; scales: what the codes of each traced tensor stand for, by name.
    The last two serve reports only: `run` and `trace` never look at them.
    """

    network: VisionTransformer
    config: QuantConfig
    logit_scale: float
    scales: dict[str, Scale]

    def run(self, images: np.ndarray, engine: str = "numpy", record=None) -> np.ndarray:
        """images: uint8 (B, C, H, W) -> logits int32 (B, classes).

        record(name, tensor), if given, sees the tensors between the units. Raises TypeError or
        ValueError for wrong images and for an unknown engine.
        """
        run = engine_named(engine)
        return run(self.network, images) if record is None else run(self.network, images, record)

    def trace(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """image: uint8 (C, H, W) -> every tensor between the units, by name, in order.

        The tensors have no batch axis. The last one is "head", the logits.
        """
        if isinstance(image, np.ndarray) and image.ndim != 3:
            raise ValueError(f"trace: expected one image (C, H, W), got shape {image.shape}")
        steps = {}
        self.run(np.asarray(image)[None], record=lambda name, t: steps.update({name: t[0]}))
        return steps

    def save(self, path) -> None:
        """Write one .safetensors file: the same bytes for the same model, or nothing on failure."""
        netfile.save(self, path)

    @classmethod
    def load(cls, path) -> QuantizedModel:
        """Raises ValueError naming a damaged or foreign file, OSError if it is absent."""
        return netfile.load(cls, path)
