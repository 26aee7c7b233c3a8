"""The specification: an integer network run with the units, one after the other, in numpy.

No float appears at any step, and torch is never imported.
"""

from __future__ import annotations

import numpy as np

from ..network import Block, VisionTransformer
from ..units import attention, gelu, layernorm, matmul, patches, requantize, residual


def ignore(name: str, tensor: np.ndarray) -> None:
    """The default `record`: forgets what it is shown."""


def check_images(network: VisionTransformer, images) -> None:
    """Raises TypeError unless images is a uint8 array, ValueError for a wrong shape."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        got = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"images: expected a numpy array of uint8, got {got}")
    if images.ndim != 4 or images.shape[1:] != network.image_shape:
        wanted = ", ".join(str(n) for n in network.image_shape)
        raise ValueError(f"images: expected shape (B, {wanted}), got {images.shape}")


def run(network: VisionTransformer, images: np.ndarray, record=ignore) -> np.ndarray:
    """images: uint8 (B, C, H, W) -> logits int32 (B, classes).

    record(name, tensor) sees every tensor that passes between two units, with the batch axis
    first, in the order of the data flow. Raises TypeError or ValueError for wrong images.
    """
    check_images(network, images)

    def layer(x, name, linear, scaling):
        """One Linear and its requantize, both recorded."""
        acc = matmul(x, linear.weight, linear.bias)
        record(f"{name}.acc", acc)
        return seen(name, requantize(acc, scaling))

    def seen(name, tensor):
        record(name, tensor)
        return tensor

    x = seen("image", patches(images, network.patch))
    x = layer(x, "patch_embed", network.patch_embed, network.patch_embed_requantize)
    cls_token = np.broadcast_to(network.cls_token, (len(x), 1, x.shape[-1])).astype(x.dtype)
    x = np.concatenate([cls_token, x], axis=1)  # (B, N - 1, C) -> (B, N, C)
    positions = np.broadcast_to(network.pos_embed, x.shape)
    x = seen("embed", residual(positions, x, network.embed))
    for i, block in enumerate(network.blocks):
        x = run_block(x, block, f"blocks.{i}", layer, seen)
    x = seen("norm", layernorm(x[:, 0], network.norm))  # the class token, (B, C)
    return layer(x, "head", network.head, network.head_requantize)


def run_block(x, block: Block, name: str, layer, seen) -> np.ndarray:
    """x: the residual stream (B, N, C) -> the same after one block."""
    B, N, _ = x.shape
    H, D = block.heads, block.qkv.weight.shape[0] // (3 * block.heads)
    y = seen(f"{name}.norm1", layernorm(x, block.norm1))
    y = layer(y, f"{name}.qkv", block.qkv, block.qkv_requantize)
    # (B, N, 3 * H * D) -> (B, N, 3, H, D) -> (3, B, H, N, D)
    q, k, v = y.reshape(B, N, 3, H, D).transpose(2, 0, 3, 1, 4)
    y = attention(q, k, v, block.attention, record=lambda part, t: seen(f"{name}.attn.{part}", t))
    y = y.transpose(0, 2, 1, 3).reshape(B, N, H * D)  # (B, H, N, D) -> (B, N, H * D)
    y = layer(y, f"{name}.proj", block.proj, block.proj_requantize)
    x = seen(f"{name}.residual1", residual(x, y, block.residual1))
    y = seen(f"{name}.norm2", layernorm(x, block.norm2))
    y = layer(y, f"{name}.fc1", block.fc1, block.fc1_requantize)
    y = seen(f"{name}.gelu", gelu(y, block.gelu))
    y = layer(y, f"{name}.fc2", block.fc2, block.fc2_requantize)
    return seen(f"{name}.residual2", residual(x, y, block.residual2))
