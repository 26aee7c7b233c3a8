"""The real-valued network, step by step, under the names of the integer trace.

Calibration takes ranges from these tensors and the accuracy report measures noise against them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional


def normalize(images, mean, std) -> torch.Tensor:
    """uint8 (B, C, H, W), numpy or torch -> float32, the model's own preprocessing."""
    x = torch.as_tensor(images).float() / 255
    mean, std = (torch.tensor(v, dtype=torch.float32).reshape(1, -1, 1, 1) for v in (mean, std))
    return (x - mean) / std


@torch.inference_mode()
def float_steps(model, x) -> Iterator[tuple[str, torch.Tensor]]:
    """x: float (B, C, H, W), normalized -> (name, tensor) in order; the last is "head", the logits.

    model: a timm VisionTransformer that `check_supported` accepts. Names and shapes are those of
    the integer trace, batch axis first; a tensor serves for all of the integer tensors of its
    name: see `real_name`. The sum equals model(x) up to the rounding of float32.
    """
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


def block_steps(block, x):
    """x: the residual stream (B, N, C); the last tensor yielded is the stream after the block."""
    B, N, _ = x.shape
    attn, mlp = block.attn, block.mlp
    y = block.norm1(x)
    yield "norm1", y
    y = attn.qkv(y)
    yield "qkv", y
    # (B, N, 3 * H * D) -> (B, N, 3, H, D) -> (3, B, H, N, D)
    q, k, v = y.reshape(B, N, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    y = (q @ k.transpose(-2, -1)) * attn.scale
    yield "attn.score", y
    y = y.softmax(-1)
    yield "attn.softmax", y
    y = y @ v
    yield "attn.context", y
    y = attn.proj(y.transpose(1, 2).reshape(B, N, -1))  # (B, H, N, D) -> (B, N, H * D)
    yield "proj", y
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
