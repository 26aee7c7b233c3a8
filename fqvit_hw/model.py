"""QuantizedModel: an integer network with what is needed to use it and to report on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import engines
from .config import QuantConfig
from .network import SwinTransformer, VisionTransformer
from .network import file as netfile
from .network.scale import Scale


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """codes: int8 or int16 (B, h, w, C); scale: scale, zero point and PTF factors of the codes."""

    codes: np.ndarray
    scale: Scale

    @property
    def real(self) -> np.ndarray:
        """float32 (B, C, h, w), what the codes stand for: what a detector takes."""
        return self.scale.dequantize(self.codes).transpose(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """network: the integers; logit_scale: real logit = logit_scale * int32 logit.

    config: how it was calibrated; scales: what the codes of each traced tensor stand for, by name.
    The last two serve reports only: `run` and `trace` never look at them.
    """

    network: VisionTransformer | SwinTransformer
    config: QuantConfig
    logit_scale: float
    scales: dict[str, Scale]

    def run(self, images: np.ndarray, engine=None, record=None, device=None) -> np.ndarray:
        """images: uint8 (B, C, H, W) -> logits int32 (B, classes), the same for every engine.

        engine: "numpy" (the specification), "fast", "torch", or None for the fastest there is;
        device: of torch ("cuda"). record(name, tensor), if given, sees the tensors between the
        units. Raises TypeError or ValueError for wrong images and for an unknown engine or device.
        """
        return engines.run(self.network, images, record, engine=engine, device=device)

    def features(self, images: np.ndarray, engine=None, device=None) -> list[FeatureMap]:
        """images: uint8 (B, C, H, W) of any size -> the maps after the stages of a Swin network.

        Windows are padded as timm's float model pads them, and every block keeps the window and
        shift that it has at the network's own size. At 224 x 224 the last stage is one window and
        has no shift; a detector whose backbone shifts there needs a network quantized at a larger
        size (`fqvit-hw quantize --image-size H W`). Raises TypeError for another network.
        """
        maps = engines.features(self.network, images, engine=engine, device=device)
        return [
            FeatureMap(codes, self.scales[stage.output.name])
            for codes, stage in zip(maps, self.network.steps.stages, strict=True)
        ]

    def trace(self, image: np.ndarray, engine="numpy", device=None) -> dict[str, np.ndarray]:
        """image: uint8 (C, H, W) -> every tensor between the units, by name, in order.

        The tensors have no batch axis. The last one is "head", the logits.
        """
        if isinstance(image, np.ndarray) and image.ndim != 3:
            raise ValueError(f"trace: expected one image (C, H, W), got shape {image.shape}")
        steps = {}
        self.run(
            np.asarray(image)[None],
            engine=engine,
            device=device,
            record=lambda name, t: steps.update({name: t[0]}),
        )
        return steps

    def save(self, path) -> None:
        """Write one .safetensors file: the same bytes for the same model, or nothing on failure."""
        netfile.save(self, path)

    @classmethod
    def load(cls, path) -> QuantizedModel:
        """Raises ValueError naming a damaged or foreign file, OSError if it is absent."""
        return netfile.load(cls, path)
