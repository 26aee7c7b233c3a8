"""The forward pass read three ways: in float, while calibrating, and quantized."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from ..calibrate import check_calibration, check_supported, preprocessing
from ..calibrate.float_steps import normalize
from .config import ReferenceConfig
from .fake_quant import Uniform, fake_quantize_weight
from .forward import forward
from .layernorm import integer_layer_norm
from .observers import BY_NAME, PowerOfTwoFactors
from .softmax import log_int_softmax


class FloatSimulation:
    """No point quantizes: `forward` then is the model's own forward pass."""

    def __init__(self, config: ReferenceConfig, quantize_input: bool):
        self.config, self.quantize_input = config, quantize_input

    def point(self, name, x):
        return x

    def stream(self, name, x):
        return self.point(name, x)

    def layer_norm(self, name, layer, x, source):
        return self.point(name, layer(x))

    def attention_map(self, name, scores, source):
        p = scores.softmax(-1)
        return self.point(name, p) if self.config.attention == "uniform8" else p


class Calibration(FloatSimulation):
    """Runs the float model and observes; `last_batch` then settles the point of every tensor."""

    def __init__(self, config, quantize_input):
        super().__init__(config, quantize_input)
        self.observers, self.points = {}, {}
        self.last_batch = False

    def observe(self, name, x, kind):
        observer = self.observers.setdefault(name, kind())
        observer.update(x)
        if self.last_batch:
            self.points[name] = observer.uniform(x)
        return x

    def point(self, name, x):
        return self.observe(name, x, BY_NAME[self.config.observer])

    def stream(self, name, x):
        kind = PowerOfTwoFactors if self.config.ptf else BY_NAME[self.config.observer]
        return self.observe(name, x, kind)

    def attention_map(self, name, scores, source):
        defects = self.config.defects
        lis = self.config.attention == "lis4"
        if lis and self.last_batch and defects.contaminated_batch:
            return log_int_softmax(scores, self.points[source].scale, defects)
        return super().attention_map(name, scores, source)


class Simulation(FloatSimulation):
    """Quantizes at every point. points: the Uniform of each, by name."""

    def __init__(self, config, quantize_input, points: dict[str, Uniform]):
        super().__init__(config, quantize_input)
        self.points = points

    def point(self, name, x):
        return self.points[name].fake_quantize(x)

    def layer_norm(self, name, layer, x, source):
        if not self.config.ptf:
            return super().layer_norm(name, layer, x, source)
        scale = self.points[source].scale
        if scale.numel() > 1:  # patch merging joins four neighbours, each with its factors
            scale = scale.repeat(x.shape[-1] // scale.numel())
        guarded = not self.config.defects.unguarded_layer_norm
        return self.point(
            name, integer_layer_norm(x, layer, scale, self.points[name].scale, guarded)
        )

    def attention_map(self, name, scores, source):
        if self.config.attention == "uniform8":
            return super().attention_map(name, scores, source)
        return log_int_softmax(scores, self.points[source].scale, self.config.defects)


class Reference:
    """A calibrated simulation. model: a copy of the float model with fake-quantized weights."""

    def __init__(self, model, sim: Simulation, mean, std):
        self.model, self.sim, self.mean, self.std = model, sim, mean, std

    @torch.inference_mode()
    def run(self, images: np.ndarray, batch: int = 16) -> np.ndarray:
        """images: uint8 (B, C, H, W), `batch` of them at a time -> logits float32 (B, classes).

        Raises TypeError or ValueError for wrong images.
        """
        check_images(self.model, images)
        parts = [images[i : i + batch] for i in range(0, len(images), batch)]
        logits = [
            forward(self.model, self.sim, normalize(part, self.mean, self.std)) for part in parts
        ]
        return torch.cat(logits).numpy()


@torch.inference_mode()
def build_reference(model, calibration, config=None, *, mean=None, std=None) -> Reference:
    """Calibrate the simulation of a timm VisionTransformer or SwinTransformer in eval mode.

    calibration: uint8 images (B, C, H, W); config: a ReferenceConfig, or a QuantConfig, of which it
    takes observer, ptf and attention; mean, std: as `quantize` takes them. The result depends only
    on the arguments, the model is left as it is. Raises as `quantize` does.
    """
    config = ReferenceConfig() if config is None else ReferenceConfig.of(config)
    check_supported(model)
    mean, std = preprocessing(model, mean, std)
    images = check_calibration(model, calibration)
    quantize_input = config.quantize_input
    if quantize_input is None:
        quantize_input = not architecture(model).startswith("vit_")
    sim = Calibration(config, quantize_input)
    batches = np.array_split(images, min(config.batches, len(images)))
    for i, batch in enumerate(batches):
        sim.last_batch = i == len(batches) - 1
        forward(model, sim, normalize(batch, mean, std))
    quantized = copy.deepcopy(model)
    for layer in quantized.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.weight.copy_(fake_quantize_weight(layer.weight))
    return Reference(quantized, Simulation(config, quantize_input, sim.points), mean, std)


def architecture(model) -> str:
    """timm's name of the model, as far as it knows one."""
    return (getattr(model, "pretrained_cfg", None) or {}).get("architecture", "")


def check_images(model, images) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        got = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"images: expected a numpy array of uint8, got {got}")
    shape = (model.patch_embed.proj.in_channels, *model.patch_embed.img_size)
    if images.ndim != 4 or images.shape[1:] != shape or len(images) == 0:
        wanted = ", ".join(str(n) for n in shape)
        raise ValueError(f"images: expected shape (B, {wanted}), got {images.shape}")
