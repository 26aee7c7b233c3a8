"""The smallest accelerator that runs whole networks, and a network for it: built in seconds."""

from __future__ import annotations

from fqvit_hw.hardware import Hardware

from .networks import random_images

# R < C and several lanes, so that nothing is equal by chance. The digits network stays on chip,
# with K in two groups; small_vit is spilled.
MICRO = Hardware(
    "micro", rows=4, cols=8, lanes=2, norm_lanes=2, bus=64,
    acts=900, stream=160, codes=256, tiles=128, ring=24, sums=32,
    max_tokens=32, max_channels=64, params=4, prefetch=32,
)  # fmt: skip
SIZES = {MICRO.name: MICRO}


def small_vit():
    """A random ViT of 31 tokens, 60 channels and 3 heads, with a stream of 16 bits, and 2 images.

    It is too large for MICRO to keep on chip, and no power of two.
    """
    from fqvit_hw import quantize
    from fqvit_hw.calibrate.timm_compat import import_timm
    from fqvit_hw.config import PRESETS

    import_timm()
    import torch
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=(24, 20), patch_size=4, num_classes=5,
        embed_dim=60, depth=1, num_heads=3, mlp_ratio=1.7,
    ).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    images = random_images(4, (3, 24, 20))
    return quantize(model, images, PRESETS["best"], mean=(0.5,) * 3, std=(0.3,) * 3), images[:2]
