"""The two architectures with every quantization point of the authors' simulation in its place.

A forward pass here is written once and read three ways; `sim` (simulation.py) says which:
    sim.point(name, x)                       an activation is quantized here, uint8 per tensor
    sim.stream(name, x)                      the residual stream: with PTF a factor per channel
    sim.layer_norm(name, layer, x, source)   LayerNorm of the stream quantized at `source`, and the
                                             point of its output
    sim.attention_map(name, scores, source)  softmax of the scores quantized at `source`
Everything between two points is float: products with dequantized weights, biases, 1 / sqrt(D),
GELU, residual sums. q, k and v share a point; the fc1 output has none. The layers are timm's.
"""

from __future__ import annotations

import torch
from timm.models.swin_transformer import SwinTransformer, window_partition, window_reverse
from torch.nn import functional


def forward(model, sim, x) -> torch.Tensor:
    """x: float (B, C, H, W), normalized -> logits float (B, classes)."""
    if sim.quantize_input:
        x = sim.point("image", x)
    x = swin(model, sim, x) if isinstance(model, SwinTransformer) else vit(model, sim, x)
    return sim.point("head", x)


def vit(model, sim, x):
    x = model.patch_embed.proj(x).flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, N - 1, C)
    x = sim.point("patch_embed", x)
    x = sim.point("cls_token", torch.cat([model.cls_token.expand(len(x), -1, -1), x], dim=1))
    x = sim.stream("embed", x + sim.point("pos_embed", model.pos_embed))
    source = "embed"
    for i, block in enumerate(model.blocks):
        x, source = transformer_block(f"blocks.{i}", block, attention, sim, x, source)
    x = sim.layer_norm("norm", model.norm, x[:, 0], source)
    return model.head(x)


def swin(model, sim, x):
    embed = model.patch_embed
    x = embed.proj(x).permute(0, 2, 3, 1)  # (B, C, H, W) -> (B, H, W, C)
    x = sim.point("patch_embed", x)
    x = sim.layer_norm("patch_embed.norm", embed.norm, x, "patch_embed")
    source = "patch_embed.norm"
    for i, stage in enumerate(model.layers):
        if i > 0:
            x, source = merging(f"layers.{i}.downsample", stage.downsample, sim, x, source)
        for j, block in enumerate(stage.blocks):
            name = f"layers.{i}.blocks.{j}"
            x, source = transformer_block(name, block, window_attention, sim, x, source)
    x = sim.layer_norm("norm", model.norm, x, source)
    x = sim.point("pool", x.mean((1, 2)))  # (B, H, W, C) -> (B, C)
    return model.head.fc(x)


def transformer_block(name, block, attend, sim, x, source):
    """x: the stream (..., C) quantized at `source` -> the stream after the block, and its point."""
    y = sim.layer_norm(f"{name}.norm1", block.norm1, x, source)
    x = sim.stream(f"{name}.residual1", x + attend(name, block, sim, y))
    y = sim.layer_norm(f"{name}.norm2", block.norm2, x, f"{name}.residual1")
    y = sim.point(f"{name}.gelu", functional.gelu(block.mlp.fc1(y)))
    y = sim.point(f"{name}.fc2", block.mlp.fc2(y))
    return sim.stream(f"{name}.residual2", x + y), f"{name}.residual2"


def split_heads(x, heads: int):
    """(B, N, 3 * H * D) -> (B, N, 3, H, D) -> (3, B, H, N, D)"""
    return x.reshape(*x.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)


def attention(name, block, sim, x):
    """x: (B, N, C) -> (B, N, C)"""
    attn = block.attn
    q, k, v = split_heads(sim.point(f"{name}.qkv", attn.qkv(x)), attn.num_heads)
    scores = sim.point(f"{name}.attn.score", (q @ k.transpose(-2, -1)) * attn.scale)
    p = sim.attention_map(f"{name}.attn.softmax", scores, f"{name}.attn.score")
    context = (p @ v).transpose(1, 2).reshape(x.shape)  # (B, H, N, D) -> (B, N, H * D)
    context = sim.point(f"{name}.attn.context", context)
    return sim.point(f"{name}.proj", attn.proj(context))


def window_attention(name, block, sim, x):
    """x: (B, H, W, C) -> (B, H, W, C): attention within windows, every other block shifted."""
    H, W = x.shape[1:3]
    shift, window = block.shift_size, block.window_size  # no shift is (0, 0)
    x = torch.roll(x, (-shift[0], -shift[1]), (1, 2))
    x = functional.pad(x, (0, 0, 0, -W % window[1], 0, -H % window[0]))
    padded = x.shape[1:3]
    windows = window_partition(x, window).flatten(1, 2)  # (B * windows, h, w, C) -> (..., N, C)
    mask = block.get_attn_mask(x) if block.dynamic_mask else block.attn_mask
    windows = within_windows(name, block.attn, sim, windows, mask)
    x = window_reverse(windows.unflatten(1, window), window, *padded)[:, :H, :W]
    return torch.roll(x, shift, (1, 2))


def within_windows(name, attn, sim, x, mask):
    """x: (B * windows, N, C) -> the same. The position bias is added between two points.

    mask: (windows, N, N), -100 where the pair comes from two sides of the image, or None.
    """
    q, k, v = split_heads(sim.point(f"{name}.qkv", attn.qkv(x)), attn.num_heads)
    scores = sim.point(f"{name}.attn.product", (q * attn.scale) @ k.transpose(-2, -1))
    table = sim.point(f"{name}.attn.bias_table", attn.relative_position_bias_table)
    bias = table[attn.relative_position_index].permute(2, 0, 1)  # (N, N, H) -> (H, N, N)
    scores = sim.point(f"{name}.attn.score", scores + bias)
    if mask is not None:  # (B * windows, H, N, N) -> (B, windows, H, N, N) and back
        scores = (scores.unflatten(0, (-1, len(mask))) + mask.unsqueeze(1)).flatten(0, 1)
    p = sim.attention_map(f"{name}.attn.softmax", scores, f"{name}.attn.score")
    context = (p @ v).transpose(1, 2).reshape(x.shape)  # (..., H, N, D) -> (..., N, H * D)
    context = sim.point(f"{name}.attn.context", context)
    return sim.point(f"{name}.proj", attn.proj(context))


def merging(name, layer, sim, x, source):
    """x: (B, H, W, C) -> the stream (B, H / 2, W / 2, 2 C), its point: 2 x 2 neighbours joined."""
    x = functional.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    # (B, H, W, C) -> (B, h, 2, w, 2, C) -> (B, h, w, 2, 2, C) -> (B, h, w, 4 C), columns outermost
    x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2, 5).flatten(3)
    x = sim.layer_norm(f"{name}.norm", layer.norm, x, source)
    return sim.stream(f"{name}.reduction", layer.reduction(x)), f"{name}.reduction"
