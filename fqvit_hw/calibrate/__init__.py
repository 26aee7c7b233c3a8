"""The torch side: a timm model and a few images become a QuantizedModel, once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..config import QuantConfig
from ..errors import UserError, UserTypeError
from ..model import QuantizedModel
from ..network.scale import Scale
from .build import build_network
from .choose import calibrate
from .fold import Folded, fold, ranges_to_fold, unfit, unfolded
from .gram import Gram, observe_inputs
from .guard import check_same
from .supported import check_supported

# Fields of a QuantConfig that ask nothing of the images: networks that differ in these alone are
# built from one calibration.
BUILT = (
    "attention", "exponential", "row_norm", "weight_bits", "weight_rounding", "bias_correction",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A float model, folded, and what the images told of it.

    scales: of all tensors; means, grams: of the inputs of its Linears, grams empty unless
    config.weight_rounding needs them; mean, std: of the preprocessing
    """

    model: Any
    folded: Folded
    scales: dict[str, Scale]
    means: dict[str, np.ndarray]
    grams: dict[str, Gram]
    config: QuantConfig
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def serves(self, config: QuantConfig) -> bool:
        """Whether `build` makes of it what `quantize` makes of the model."""
        same = replace(config, **{name: getattr(self.config, name) for name in BUILT})
        return same == self.config and (config.weight_rounding == "nearest" or bool(self.grams))

    def build(self, config: QuantConfig) -> QuantizedModel:
        """The integer network. Raises ValueError for a configuration that it does not serve."""
        if not self.serves(config):
            raise ValueError(f"calibrated for {self.config}, which does not serve {config}")
        network, logit_scale, scales = build_network(
            self.model, self.scales, self.means, self.grams, config, self.mean, self.std
        )
        return QuantizedModel(network, config, logit_scale, unfolded(scales, self.folded))


def quantize(model, calibration, config: QuantConfig, *, mean=None, std=None) -> QuantizedModel:
    """See fqvit_hw.quantize."""
    return calibrated(model, calibration, config, mean=mean, std=std).build(config)


def calibrated(model, calibration, config: QuantConfig, *, mean=None, std=None) -> Calibrated:
    """The part of `quantize` that looks at the images, and takes the time."""
    if not isinstance(config, QuantConfig):
        raise UserTypeError(f"config: expected a QuantConfig, got {type(config).__name__}")
    check_supported(model)
    mean, std = preprocessing(model, mean, std)
    images = spaced(check_calibration(model, calibration), config.calibration_images)
    check_same(model, images, mean, std)
    ranges, kept = ranges_to_fold(model, images, mean, std, config), {}
    while True:  # once, but where an outlier takes a folded channel beyond what the units hold
        changed, folded = fold(model, ranges, config, kept)
        scales, means = calibrate(changed, images, mean, std, config)
        if not (more := unfit(changed, folded, scales, kept)):
            break
        kept |= more
    grams = {}
    if config.weight_rounding == "output":
        grams = observe_inputs(changed, images, mean, std, scales)
    return Calibrated(changed, folded, scales, means, grams, config, mean, std)


def spaced(images: np.ndarray, number: int) -> np.ndarray:
    """At most `number` images, evenly spaced: a folder is often sorted by class."""
    number = min(number, len(images))
    return images[np.arange(number) * len(images) // number]


def preprocessing(model, mean, std) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The given mean and std or the model's own, one number per image channel."""
    channels = model.patch_embed.proj.in_channels
    own = getattr(model, "pretrained_cfg", None) or {}
    found = []
    for name, given in (("mean", mean), ("std", std)):
        if given is None:
            given = own.get(name)
        if given is None:
            raise UserError(f"{name}: the model does not say, pass one number per image channel")
        values = tuple(float(v) for v in np.ravel(given))
        if len(values) != channels or not np.all(np.isfinite(values)):
            raise UserError(f"{name}: expected {channels} numbers, one per channel, got {given}")
        found.append(values)
    if min(found[1]) <= 0:
        raise UserError(f"std: expected positive numbers, got {found[1]}")
    return found[0], found[1]


def check_calibration(model, calibration) -> np.ndarray:
    """Returns uint8 (B, C, H, W). Raises TypeError or ValueError saying what was expected."""
    if hasattr(calibration, "detach"):  # a torch tensor
        calibration = calibration.detach().cpu().numpy()
    if not isinstance(calibration, np.ndarray) or calibration.dtype != np.uint8:
        got = getattr(calibration, "dtype", type(calibration).__name__)
        raise UserTypeError(f"calibration: expected images of uint8, got {got}")
    shape = (model.patch_embed.proj.in_channels, *model.patch_embed.img_size)
    if calibration.ndim != 4 or calibration.shape[1:] != shape:
        wanted = ", ".join(str(n) for n in shape)
        raise UserError(f"calibration: expected shape (B, {wanted}), got {calibration.shape}")
    if len(calibration) == 0:
        raise UserError("calibration: expected at least one image, got none")
    per_image = calibration.reshape(len(calibration), -1)
    if np.all(per_image.min(1) == per_image.max(1)):
        raise UserError("calibration: every image is constant, no range can be taken from them")
    return calibration
