"""The real-valued network, step by step, under the names of the integer trace.

Calibration takes ranges from these tensors and the accuracy report measures noise against them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from ..units import windows


def normalize(images, mean, std) -> torch.Tensor:
    """uint8 (B, C, H, W), numpy or torch -> float32, the model's own preprocessing."""
    x = torch.tensor(np.asarray(images)).float() / 255
    mean, std = (torch.tensor(v, dtype=torch.float32).reshape(1, -1, 1, 1) for v in (mean, std))
    return (x - mean) / std


@torch.inference_mode()
def float_steps(model, x) -> Iterator[tuple[str, torch.Tensor]]:
    """x: float (B, C, H, W), normalized -> (name, tensor) in order; the last is "head", the logits.

    model: a timm VisionTransformer or SwinTransformer that `check_supported` accepts; a Swin takes
    images of any size. Names and shapes are those of the integer trace, batch axis first; a tensor
    serves for all of the integer tensors of its name: see `real_name`. The sum equals model(x) up
    to the rounding of float32.
    """
    yield from swin_steps(model, x) if hasattr(model, "layers") else vit_steps(model, x)


def tokens(model) -> int:
    """The most tokens that an image of the model's own size has anywhere."""
    return int(np.prod(model.patch_embed.grid_size)) + (not hasattr(model, "layers"))


def vit_steps(model, x):
    x = model.patch_embed.proj(x).flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, N - 1, C)
    yield "patch_embed", x
    x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], dim=1) + model.pos_embed
    yield "embed", x
    for i, block in enumerate(model.blocks):
        for name, y in block_steps(block, x):
            yield f"blocks.{i}.{name}", y
        x = y  # the last one is the stream after the block
    x = model.norm(x[:, 0])
    yield "norm", x
    yield "head", model.head(x)


def swin_steps(model, x):
    embed = model.patch_embed
    patch = embed.proj.kernel_size[0]
    x = functional.pad(x, (0, -x.shape[3] % patch, 0, -x.shape[2] % patch))
    x = embed.proj(x)
    grid = x.shape[2:]
    x = x.flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, N, C)
    yield "patch_embed.conv", x
    x = embed.norm(x)
    yield "patch_embed.norm", x
    for i, stage in enumerate(model.layers):
        if i:
            four = torch.tensor(windows.merging(*grid))
            y = stage.downsample.norm(take(x, four).flatten(2))  # (B, N / 4, 4 * C)
            yield f"layers.{i}.downsample.norm", y
            x = stage.downsample.reduction(y)
            yield f"layers.{i}.downsample.reduction", x
            grid = [(side + 1) // 2 for side in grid]
        for j, block in enumerate(stage.blocks):
            for name, y in block_steps(block, x, grid):
                yield f"layers.{i}.blocks.{j}.{name}", y
            x = y
    x = model.norm(x)
    yield "norm", x
    x = x.mean(1)
    yield "pool", x
    yield "head", model.head.fc(x)


def take(x, index) -> torch.Tensor:
    """x: (B, N, C), index: int (...) or PAD -> (B, ..., C), 0 where the index is PAD."""
    return torch.where((index == windows.PAD)[..., None], 0, x[:, index])


def block_steps(block, x, grid=None):
    """x: the residual stream (B, N, C); the last tensor yielded is the stream after the block.

    grid: height and width in tokens, for a Swin block.
    """
    attn, mlp = block.attn, block.mlp
    y = block.norm1(x)
    yield "norm1", y
    bias, mask = 0, None
    if grid is not None:
        where = (*grid, tuple(block.window_size), tuple(block.shift_size))
        y = take(y, torch.tensor(windows.partition(*where)))  # (B, N, C) -> (B, W, n, C)
        bias, mask = attn._get_rel_pos_bias()[0], windows.shift_mask(*where)  # (H, n, n), (W, n, n)
    y = attn.qkv(y)
    yield "qkv", y
    # (..., N, 3 * H * D) -> (..., N, 3, H, D) -> (3, ..., H, N, D)
    split = y.reshape(*y.shape[:-1], 3, attn.num_heads, -1)
    q, k, v = split.movedim(-3, 0).movedim(-2, -3)
    y = (q @ k.transpose(-2, -1)) * attn.scale + bias
    yield "attn.score", y
    if mask is not None:
        y = y.masked_fill(torch.tensor(mask)[:, None], -torch.inf)  # (W, 1, n, n)
    y = y.softmax(-1)
    yield "attn.softmax", y
    y = y @ v
    yield "attn.context", y
    y = attn.proj(y.transpose(-3, -2).flatten(-2))  # (..., H, N, D) -> (..., N, H * D)
    yield "proj", y
    if grid is not None:  # (B, W, n, C) -> (B, W * n, C) -> (B, N, C)
        y = take(y.flatten(1, 2), torch.tensor(windows.reverse(*where)))
    x = x + y
    yield "residual1", x
    y = block.norm2(x)
    yield "norm2", y
    y = mlp.fc1(y)
    yield "fc1", y
    y = functional.gelu(y)
    yield "gelu", y
    y = mlp.fc2(y)
    yield "fc2", y
    yield "residual2", x + y


def real_name(name: str) -> str:
    """The float step that an integer tensor stands for: accumulators and codes share one."""
    return name.removesuffix(".acc").removesuffix(".normalized")
