"""fqvit_hw: fully quantized vision transformers in integers only, from calibration to RTL.

Importing this package and running the numpy engine needs no torch; `quantize` imports it.
"""

from .config import PRESETS, QuantConfig
from .model import QuantizedModel

__all__ = ["PRESETS", "QuantConfig", "QuantizedModel", "__version__", "quantize"]

__version__ = "0.1.0"  # pyproject.toml takes it from here


def quantize(model, calibration, config=None, *, mean=None, std=None) -> QuantizedModel:
    """Calibrate a timm ViT or DeiT and turn it into integers. Needs torch and timm.

    model: timm VisionTransformer in eval mode; calibration: uint8 (B, C, H, W), numpy or torch;
    config: QuantConfig, by default QuantConfig(); mean, std: one number per image channel as the
    model's preprocessing has them (by default those of its `pretrained_cfg`). The result depends
    only on the arguments. Raises TypeError or ValueError naming the layer that cannot be built,
    the weights that are not finite, or what is wrong with the images.
    """
    from .calibrate import quantize as run

    config = QuantConfig() if config is None else config
    return run(model, calibration, config, mean=mean, std=std)
