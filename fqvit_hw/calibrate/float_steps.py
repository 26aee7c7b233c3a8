"""The real-valued network, step by step, in the steps of the integer one.

Calibration takes ranges from these tensors and the accuracy report measures noise against them.
They are computed in float64 by `exact`, so that every processor finds the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from ..network.step import Role, Step
from ..network.steps import BlockSteps, SwinSteps, VitSteps, swin_steps, vit_steps
from ..units import windows
from .exact import gelu, layer_norm, linear, ordered_sum, product, softmax


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
    """x: float (B, C, H, W), normalized -> (step, float64 tensor) in order, the last the logits.

    model: as for `steps_of`; a Swin takes images of any size. Every step but the image is there.
    Shapes are those of the integer trace, batch axis first; a tensor serves for all of the integer
    tensors of its step. The logits equal model(x) up to the rounding of float32.
    """
    x = x.double()
    steps = steps_of(model)
    if isinstance(steps, SwinSteps):
        yield from swin_tensors(model, steps, x)
    else:
        yield from vit_tensors(model, steps, x)


def columns(step: Step, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor of a step as the next layer takes it: a context has all heads side by side."""
    if step.role is not Role.CONTEXT:
        return tensor
    return tensor.transpose(-3, -2).flatten(-2)  # (..., H, N, D) -> (..., N, H * D)


def tokens(model) -> int:
    """The most tokens that an image of the model's own size has anywhere."""
    class_token = isinstance(steps_of(model), VitSteps)
    return int(np.prod(model.patch_embed.grid_size)) + class_token


def vit_tensors(model, steps: VitSteps, x):
    x = patches(model.patch_embed.proj, x).flatten(1, 2)  # (B, h, w, C) -> (B, N - 1, C)
    yield steps.patch_embed, x
    token = model.cls_token.double().expand(len(x), -1, -1)
    x = torch.cat([token, x], dim=1) + model.pos_embed.double()
    yield steps.embed, x
    for block, at in zip(model.blocks, steps.blocks, strict=True):
        for step, y in block_tensors(block, at, x):
            yield step, y
        x = y  # the last one is the stream after the block
    x = layer_norm(x[:, 0], model.norm)
    yield steps.norm, x
    yield steps.head, linear(x, model.head)


def patches(conv, x) -> torch.Tensor:
    """The convolution of patches that do not overlap: (B, c, H, W) -> (B, h, w, C)."""
    p = conv.kernel_size[0]
    x = x.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # (B, c, h, p, w, p)
    x = x.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (B, h, w, c * p * p)
    return linear(x, conv)


def swin_tensors(model, steps: SwinSteps, x):
    embed = model.patch_embed
    patch = embed.proj.kernel_size[0]
    x = functional.pad(x, (0, -x.shape[3] % patch, 0, -x.shape[2] % patch))
    x = patches(embed.proj, x)
    grid = x.shape[1:3]
    x = x.flatten(1, 2)  # (B, h, w, C) -> (B, N, C)
    yield steps.patch_embed, x
    x = layer_norm(x, embed.norm)
    yield steps.patch_embed_norm, x
    for stage, at in zip(model.layers, steps.stages, strict=True):
        if at.merge:
            four = torch.tensor(windows.merging(*grid))
            y = take(x, four).flatten(2)  # (B, N / 4, 4 * C)
            y = layer_norm(y, stage.downsample.norm)
            yield at.merge.norm, y
            x = linear(y, stage.downsample.reduction)
            yield at.merge.reduction, x
            grid = [(side + 1) // 2 for side in grid]
        for block, within in zip(stage.blocks, at.blocks, strict=True):
            for step, y in block_tensors(block, within, x, grid):
                yield step, y
            x = y
    x = layer_norm(x, model.norm)
    yield steps.norm, x
    x = ordered_sum(x, 1) / x.shape[1]
    yield steps.pool, x
    yield steps.head, linear(x, model.head.fc)


def take(x, index) -> torch.Tensor:
    """x: (B, N, C), index: int (...) or PAD -> (B, ..., C), 0 where the index is PAD."""
    return torch.where((index == windows.PAD)[..., None], 0, x[:, index])


def block_tensors(block, steps: BlockSteps, x, grid=None):
    """x: the residual stream (B, N, C); the last tensor yielded is the stream after the block.

    grid: height and width in tokens, for a Swin block.
    """
    attn, mlp = block.attn, block.mlp
    y = layer_norm(x, block.norm1)
    yield steps.norm1, y
    bias, mask = 0, None
    if grid is not None:
        where = (*grid, tuple(block.window_size), tuple(block.shift_size))
        y = take(y, torch.tensor(windows.partition(*where)))  # (B, N, C) -> (B, W, n, C)
        bias = attn._get_rel_pos_bias()[0].double()  # (H, n, n)
        mask = windows.shift_mask(*where)  # (W, n, n)
    y = linear(y, attn.qkv)
    yield steps.qkv, y
    # (..., N, 3 * H * D) -> (..., N, 3, H, D) -> (3, ..., H, N, D)
    split = y.reshape(*y.shape[:-1], 3, attn.num_heads, -1)
    q, k, v = split.movedim(-3, 0).movedim(-2, -3)
    y = product(q, k) * attn.scale + bias
    yield steps.score, y
    if mask is not None:
        y = y.masked_fill(torch.tensor(mask)[:, None], -torch.inf)  # (W, 1, n, n)
    y = softmax(y)
    yield steps.softmax, y
    y = product(y, v.transpose(-2, -1))
    yield steps.context, y
    y = y.transpose(-3, -2).flatten(-2)  # (..., H, N, D) -> (..., N, H * D)
    y = linear(y, attn.proj)
    yield steps.proj, y
    if grid is not None:  # (B, W, n, C) -> (B, W * n, C) -> (B, N, C)
        y = take(y.flatten(1, 2), torch.tensor(windows.reverse(*where)))
    x = x + y
    yield steps.residual1, x
    y = layer_norm(x, block.norm2)
    yield steps.norm2, y
    y = linear(y, mlp.fc1)
    yield steps.fc1, y
    y = gelu(y)
    yield steps.gelu, y
    y = linear(y, mlp.fc2)
    yield steps.fc2, y
    yield steps.residual2, x + y
