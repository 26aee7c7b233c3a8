"""A tiny random ViT for the tests of the model side. Imports torch on call only."""

import numpy as np

MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.3, 0.2)


def tiny_vit(seed=0, **changes):
    """12 x 8 images, patch 4, 3 channels: 6 patches, 24 channels, 2 blocks, 3 heads, 5 classes."""
    from fqvit_hw.timm_compat import import_timm

    import_timm()
    import torch
    from timm.models.vision_transformer import VisionTransformer

    torch.set_num_threads(1)  # the tests run in two processes
    torch.manual_seed(seed)
    settings = dict(
        img_size=(12, 8),
        patch_size=4,
        num_classes=5,
        embed_dim=24,
        depth=2,
        num_heads=3,
        mlp_ratio=2,
    )
    model = VisionTransformer(**(settings | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # wider than the initialization: every range is used
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model


def random_images(n, seed=0, shape=(3, 12, 8)):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)


def tiny_quantized(model=None, config=None, **changes):
    from fqvit_hw import quantize

    model = model or tiny_vit(**changes)
    return quantize(model, random_images(16), config, mean=MEAN, std=STD)


def tiny_swin(seed=0, **changes):
    """22 x 18 images, patch 2, 3 channels: grids of 11 x 9 and 6 x 5, windows of 4 x 4, 5 classes.

    Nothing divides anything: windows, shifts and patch merging all have padding.
    """
    from fqvit_hw.timm_compat import import_timm

    import_timm()
    import torch
    from timm.models.swin_transformer import SwinTransformer

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    settings = dict(
        img_size=(22, 18),
        patch_size=2,
        num_classes=5,
        embed_dim=12,
        depths=(2, 2),
        num_heads=(2, 3),
        window_size=4,
        mlp_ratio=2,
        dynamic_img_size=True,
    )
    model = SwinTransformer(**(settings | changes)).eval()
    model.patch_embed.dynamic_img_pad = True
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model


SWIN_SHAPE = (3, 22, 18)


def float_tensors(model, images):
    """Every tensor of the float model on uint8 images, by name of the step."""
    from fqvit_hw.calibrate.float_steps import float_steps, normalize

    steps = float_steps(model, normalize(images, MEAN, STD))
    return {step.name: tensor for step, tensor in steps}


def tiny_quantized_swin(model=None, config=None, **changes):
    from fqvit_hw import quantize

    model = model or tiny_swin(**changes)
    return quantize(model, random_images(16, shape=SWIN_SHAPE), config, mean=MEAN, std=STD)
