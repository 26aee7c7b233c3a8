"""The float network of the digits: architecture, training from a fixed seed, weights."""

from __future__ import annotations

import numpy as np

from ..data import digits

SEED, EPOCHS, BATCH, PEAK_RATE, WEIGHT_DECAY = 2022, 150, 96, 3e-3, 0.1


SHIFT, ROTATION = 1.0, 0.2  # augmentation: up to one pixel, up to 0.2 rad


def create():
    """The float network, untrained: 8 x 8 images, 64 channels, 4 blocks, 4 heads.

    Sets torch to one thread.
    """
    from ..timm_compat import import_timm

    import_timm()
    import torch
    from timm.models.vision_transformer import VisionTransformer

    # for so small a network two threads mostly wait for each other; and one sums in one order
    torch.set_num_threads(1)

    return VisionTransformer(
        img_size=8,
        patch_size=2,
        in_chans=1,
        num_classes=10,
        embed_dim=64,
        depth=4,
        num_heads=4,
        mlp_ratio=2,
    )


def load():
    """The trained float network of the repository, in eval mode."""
    from safetensors.torch import load_file

    model = create()
    model.load_state_dict(load_file(digits.FLOAT_FILE))
    return model.eval()


def serialize_weights(model) -> bytes:
    from safetensors.torch import save

    return save({name: tensor.contiguous() for name, tensor in model.state_dict().items()})


def train():
    """AdamW with one learning-rate cycle on the training split only; returns it in eval mode.

    The seed fixes the result on one machine; float sums differ in the last bits between machines.
    """
    import torch

    torch.manual_seed(SEED)
    return fit(create(), EPOCHS)


def fit(model, epochs: int):
    """Train a float network for 8 x 8 images in place on the digits; returns it in eval mode."""
    import torch
    from torch.nn.functional import cross_entropy
    from tqdm import tqdm

    from ..calibrate.float_steps import normalize

    model.train()
    images, labels = digits.train_set()
    x, y = normalize(images, digits.MEAN, digits.STD), torch.from_numpy(labels)
    steps = len(x) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=epochs * steps, pct_start=0.1
    )
    for _ in tqdm(range(epochs), desc="training digits", unit="epoch"):
        for batch in torch.randperm(len(x))[: steps * BATCH].split(BATCH):
            loss = cross_entropy(model(augment(x[batch])), y[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            cycle.step()
    return model.eval()


def augment(x):
    """x: float (B, 1, 8, 8) -> each image rotated and shifted a little, black outside."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    B, _, H, _ = x.shape
    angle = (torch.rand(B) * 2 - 1) * ROTATION
    shift = (torch.rand(B, 2) * 2 - 1) * SHIFT * 2 / H  # grid_sample's image spans [-1, 1]
    cos, sin = angle.cos(), angle.sin()
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    grid = affine_grid(torch.stack(rows, 1), x.shape, align_corners=False)
    return grid_sample(x + 1, grid, align_corners=False) - 1  # -1 is black


def float_top1(model) -> float:
    """Fraction of the held-out images that the float network gets right."""
    import torch

    from ..calibrate.float_steps import normalize

    images, labels = digits.test_set()
    with torch.inference_mode():
        logits = model(normalize(images, digits.MEAN, digits.STD)).numpy()
    return float(np.mean(logits.argmax(1) == labels))
