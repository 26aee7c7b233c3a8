"""The real-valued network, step by step, in the steps of the integer one.

Calibration takes ranges from these tensors and the accuracy report measures noise against them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from ..network.step import Step
from ..network.steps import BlockSteps, SwinSteps, VitSteps, swin_steps, vit_steps
from ..units import windows


def normalize(images, mean, std) -> torch.Tensor:
    """uint8 (B, C, H, W), numpy or torch -> float32, the model's own preprocessing."""
    x = torch.tensor(np.asarray(images)).float() / 255
    mean, std = (torch.tensor(v, dtype=torch.float32).reshape(1, -1, 1, 1) for v in (mean, std))
    return (x - mean) / std


def steps_of(model) -> VitSteps | SwinSteps:
    """model: a timm VisionTransformer or SwinTransformer that `check_supported` accepts."""
    if hasattr(model, "layers"):
        return swin_steps(tuple(len(stage.blocks) for stage in model.layers))
    return vit_steps(len(model.blocks))


@torch.inference_mode()
def float_steps(model, x) -> Iterator[tuple[Step, torch.Tensor]]:
    """x: float (B, C, H, W), normalized -> (step, tensor) in order; the last are the logits.

    model: as for `steps_of`; a Swin takes images of any size. Every step but the image is there.
    Shapes are those of the integer trace, batch axis first; a tensor serves for all of the integer
    tensors of its step. The sum equals model(x) up to the rounding of float32.
    """
    steps = steps_of(model)
    if isinstance(steps, SwinSteps):
        yield from swin_tensors(model, steps, x)
    else:
        yield from vit_tensors(model, steps, x)


def tokens(model) -> int:
    """The most tokens that an image of the model's own size has anywhere."""
    class_token = isinstance(steps_of(model), VitSteps)
    return int(np.prod(model.patch_embed.grid_size)) + class_token


def vit_tensors(model, steps: VitSteps, x):
    x = model.patch_embed.proj(x).flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, N - 1, C)
    yield steps.patch_embed, x
    x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], dim=1) + model.pos_embed
    yield steps.embed, x
    for block, at in zip(model.blocks, steps.blocks, strict=True):
        for step, y in block_tensors(block, at, x):
            yield step, y
        x = y  # the last one is the stream after the block
    x = model.norm(x[:, 0])
    yield steps.norm, x
    yield steps.head, model.head(x)


def swin_tensors(model, steps: SwinSteps, x):
    embed = model.patch_embed
    patch = embed.proj.kernel_size[0]
    x = functional.pad(x, (0, -x.shape[3] % patch, 0, -x.shape[2] % patch))
    x = embed.proj(x)
    grid = x.shape[2:]
    x = x.flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, N, C)
    yield steps.patch_embed, x
    x = embed.norm(x)
    yield steps.patch_embed_norm, x
    for stage, at in zip(model.layers, steps.stages, strict=True):
        if at.merge:
            four = torch.tensor(windows.merging(*grid))
            y = stage.downsample.norm(take(x, four).flatten(2))  # (B, N / 4, 4 * C)
            yield at.merge.norm, y
            x = stage.downsample.reduction(y)
            yield at.merge.reduction, x
            grid = [(side + 1) // 2 for side in grid]
        for block, within in zip(stage.blocks, at.blocks, strict=True):
            for step, y in block_tensors(block, within, x, grid):
                yield step, y
            x = y
    x = model.norm(x)
    yield steps.norm, x
    x = x.mean(1)
    yield steps.pool, x
    yield steps.head, model.head.fc(x)


def take(x, index) -> torch.Tensor:
    """x: (B, N, C), index: int (...) or PAD -> (B, ..., C), 0 where the index is PAD."""
    return torch.where((index == windows.PAD)[..., None], 0, x[:, index])


def block_tensors(block, steps: BlockSteps, x, grid=None):
    """x: the residual stream (B, N, C); the last tensor yielded is the stream after the block.

    grid: height and width in tokens, for a Swin block.
    """
    attn, mlp = block.attn, block.mlp
    y = block.norm1(x)
    yield steps.norm1, y
    bias, mask = 0, None
    if grid is not None:
        where = (*grid, tuple(block.window_size), tuple(block.shift_size))
        y = take(y, torch.tensor(windows.partition(*where)))  # (B, N, C) -> (B, W, n, C)
        bias, mask = attn._get_rel_pos_bias()[0], windows.shift_mask(*where)  # (H, n, n), (W, n, n)
    y = attn.qkv(y)
    yield steps.qkv, y
    # (..., N, 3 * H * D) -> (..., N, 3, H, D) -> (3, ..., H, N, D)
    split = y.reshape(*y.shape[:-1], 3, attn.num_heads, -1)
    q, k, v = split.movedim(-3, 0).movedim(-2, -3)
    y = (q @ k.transpose(-2, -1)) * attn.scale + bias
    yield steps.score, y
    if mask is not None:
        y = y.masked_fill(torch.tensor(mask)[:, None], -torch.inf)  # (W, 1, n, n)
    y = y.softmax(-1)
    yield steps.softmax, y
    y = y @ v
    yield steps.context, y
    y = attn.proj(y.transpose(-3, -2).flatten(-2))  # (..., H, N, D) -> (..., N, H * D)
    yield steps.proj, y
    if grid is not None:  # (B, W, n, C) -> (B, W * n, C) -> (B, N, C)
        y = take(y.flatten(1, 2), torch.tensor(windows.reverse(*where)))
    x = x + y
    yield steps.residual1, x
    y = block.norm2(x)
    yield steps.norm2, y
    y = mlp.fc1(y)
    yield steps.fc1, y
    y = functional.gelu(y)
    yield steps.gelu, y
    y = mlp.fc2(y)
    yield steps.fc2, y
    yield steps.residual2, x + y
