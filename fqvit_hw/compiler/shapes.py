"""Networks of given sizes without weights: what schedules, traffic and cycles are made from."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from ..units import Attention, Gelu, LayerNorm, Requantize, Residual, Softmax


@dataclass(frozen=True)
class Size:
    """A ViT: image side and patch, channels of the image and of a token, blocks, heads, hidden
    channels and classes."""

    image: int = 224
    patch: int = 16
    colors: int = 3
    channels: int = 192
    depth: int = 12
    heads: int = 3
    hidden: int = 768
    classes: int = 1000


VIT = {
    "deit_tiny": Size(),
    "deit_small": Size(channels=384, heads=6, hidden=1536),
    "deit_base": Size(channels=768, heads=12, hidden=3072),
    "vit_base": Size(channels=768, heads=12, hidden=3072),
    "vit_large": Size(channels=1024, heads=16, hidden=4096, depth=24),
}


def blank(size: Size):
    """A stand-in for a VisionTransformer: weights of 0 that take no memory, scalars of 16-bit
    streams. It can be compiled with weights=False, not run."""
    C, H, classes = size.channels, size.hidden, size.classes
    zeros = np.zeros(C, np.int64)

    def linear(out: int, inputs: int):
        return SimpleNamespace(
            weight=np.broadcast_to(np.int8(0), (out, inputs)),
            bias=np.broadcast_to(np.int32(0), (out,)),
        )

    def scaling(width: int, channels: int | None = None):
        shape = () if channels is None else (channels,)
        return Requantize(np.full(shape, 1 << 15), np.full(shape, 20), 0, width)

    add = Residual(16, 0, zeros, 1 << 16, 16, 0, 1 << 16, 17, 16, 0, zeros)
    norm = LayerNorm(zeros, 0, 16, 1, zeros, 8, zeros, 0)
    softmax = Softmax(np.full(256, 1), row_norm=True)
    block = SimpleNamespace(
        heads=size.heads, head_dim=C // size.heads, norm1=norm, norm2=norm,
        qkv=linear(3 * C, C), qkv_requantize=scaling(8, 3 * C),
        attention=Attention(scaling(8), softmax, scaling(8)),
        proj=linear(C, C), proj_requantize=scaling(16, C), residual1=add,
        fc1=linear(H, C), fc1_requantize=scaling(16, H),
        gelu=Gelu(12, np.zeros(1 << 12, np.int8), scaling(8)),
        fc2=linear(C, H), fc2_requantize=scaling(16, C), residual2=add,
    )  # fmt: skip
    tokens = (size.image // size.patch) ** 2 + 1
    return SimpleNamespace(
        channels=size.colors, height=size.image, width=size.image, patch=size.patch,
        patch_embed=linear(C, size.colors * size.patch**2), patch_embed_requantize=scaling(16, C),
        cls_token=zeros, pos_embed=np.broadcast_to(np.int8(0), (tokens, C)), embed=add,
        blocks=(block,) * size.depth, norm=norm, head=linear(classes, C),
        head_requantize=scaling(32, classes), tokens=tokens,
        image_shape=(size.colors, size.image, size.image),
    )  # fmt: skip
