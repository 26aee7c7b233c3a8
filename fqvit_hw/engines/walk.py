"""The one walk over an integer network: which unit follows which, for every engine.

An engine is a set of operations on its own kind of array (`numpy_ops.NumpyOps` documents them). The
walk says in which order they are applied, and shows every tensor that passes between two units to
`record(name, tensor)`, a numpy array with the batch axis first. Without a record an engine may
fuse what belongs together; with one it computes step by step.
"""

from __future__ import annotations

from collections.abc import Callable

from ..network import Block, PatchMerging, SwinBlock, SwinTransformer, VisionTransformer
from ..units import windows

Record = Callable[[str, object], None]


class Walk:
    """One run of `network` with the operations `ops`."""

    def __init__(self, network, ops, record: Record | None = None):
        self.network, self.ops, self.record = network, ops, record

    def logits(self, images):
        """images: uint8 (B, C, H, W) -> the engine's int32 (B, classes)."""
        network, ops = self.network, self.ops
        if isinstance(network, SwinTransformer):
            *_, (x, _) = self.swin_stages(images)
            x = self.seen("norm", ops.layernorm(x, network.norm))  # (B, N, C)
            x = self.seen("pool", ops.pool(x, network.pool, self.part("pool")))  # (B, C)
        else:
            x = self.vit_blocks(images)
            x = self.seen("norm", ops.layernorm(x[:, 0], network.norm))  # the class token, (B, C)
        return self.linear(x, "head", network.head, network.head_requantize)

    def seen(self, name: str, tensor):
        if self.record:
            self.record(name, self.ops.numpy(tensor))
        return tensor

    def part(self, name: str) -> Record | None:
        """A record for what an operation computes inside, under `name`."""
        if self.record is None:
            return None
        return lambda part, tensor: self.record(f"{name}.{part}", self.ops.numpy(tensor))

    def linear(self, x, name: str, layer, scaling):
        """One Linear and its requantize."""
        return self.seen(name, self.ops.linear(x, layer, scaling, self.part(name)))

    def vit_blocks(self, images):
        """-> the residual stream (B, N, C) after the last block."""
        network: VisionTransformer = self.network
        ops = self.ops
        x = self.seen("image", ops.patches(images, network.patch))
        x = self.linear(x, "patch_embed", network.patch_embed, network.patch_embed_requantize)
        x = ops.embed(x, network.cls_token, network.pos_embed, network.embed)
        self.seen("embed", x)
        for i, block in enumerate(network.blocks):
            x = self.block(x, f"blocks.{i}", block)
        return x

    def swin_stages(self, images):
        """Yields the residual stream (B, N, C) and its grid (height, width) after every stage."""
        network: SwinTransformer = self.network
        height, width = (-(-side // network.patch) for side in images.shape[2:])
        x = self.seen("image", self.ops.patches(images, network.patch, network.pad))
        embed, scaling = network.patch_embed, network.patch_embed_requantize
        x = self.linear(x, "patch_embed.conv", embed, scaling)
        x = self.seen("patch_embed.norm", self.ops.layernorm(x, network.patch_embed_norm))
        for i, stage in enumerate(network.stages):
            if i:
                x = self.merge(x, f"layers.{i}.downsample", network.merges[i - 1], (height, width))
                height, width = (height + 1) // 2, (width + 1) // 2
            for j, block in enumerate(stage):
                windowed = Windowed(block, height, width)
                x = self.block(x, f"layers.{i}.blocks.{j}", block.block, windowed)
            yield x, (height, width)

    def merge(self, x, name: str, p: PatchMerging, grid: tuple[int, int]):
        """x: (B, N, C) of a grid -> (B, N / 4, 2 C), the last row and column padded where odd."""
        x = self.ops.take(x, windows.merging(*grid), p.norm.zero)
        B, N, four, C = x.shape
        x = x.reshape(B, N, four * C)  # (B, N / 4, 4, C) -> (B, N / 4, 4 * C)
        x = self.seen(f"{name}.norm", self.ops.layernorm(x, p.norm))
        return self.linear(x, f"{name}.reduction", p.reduction, p.reduction_requantize)

    def block(self, x, name: str, block: Block, windowed: Windowed | None = None):
        """x: the residual stream (B, N, C) -> the same after one block."""
        ops = self.ops
        y = self.seen(f"{name}.norm1", ops.layernorm(x, block.norm1))
        bias = mask = None
        if windowed:
            y = ops.take(y, windowed.there, block.norm1.zero_out)  # (B, N, C) -> (B, W, n, C)
            bias, mask = windowed.bias, windowed.mask
        y = self.linear(y, f"{name}.qkv", block.qkv, block.qkv_requantize)
        record = self.part(f"{name}.attn")
        y = ops.attention(y, block.heads, block.attention, bias, mask, record)
        y = self.branch(x, y, name, block, "proj", "residual1", windowed)
        return self.mlp(y, name, block)

    def mlp(self, x, name: str, block: Block):
        """The second half of a block: norm2, fc1, GELU, fc2."""
        ops = self.ops
        y = self.seen(f"{name}.norm2", ops.layernorm(x, block.norm2))
        if self.record:
            y = self.linear(y, f"{name}.fc1", block.fc1, block.fc1_requantize)
            y = self.seen(f"{name}.gelu", ops.gelu(y, block.gelu))
        else:
            y = ops.linear_gelu(y, block.fc1, block.fc1_requantize, block.gelu)
        return self.branch(x, y, name, block, "fc2", "residual2")

    def branch(self, x, y, name: str, block: Block, layer: str, add: str, windowed=None):
        """The end of a branch: its last Linear, put back in order, and the residual add to x."""
        ops = self.ops
        linear, scaling = getattr(block, layer), getattr(block, f"{layer}_requantize")
        if self.record is None and windowed is None:
            return ops.linear_residual(y, linear, scaling, x, getattr(block, add))
        y = self.linear(y, f"{name}.{layer}", linear, scaling)
        if windowed:
            B, W, n, C = y.shape
            y = ops.take(y.reshape(B, W * n, C), windowed.back, None)  # -> (B, N, C)
        return self.seen(f"{name}.{add}", ops.residual(x, y, getattr(block, add)))


class Windowed:
    """The addresses of one SwinBlock on a grid of height x width tokens, and its bias and mask."""

    def __init__(self, p: SwinBlock, height: int, width: int):
        where = (height, width, (p.height, p.width), (p.shift_y, p.shift_x))
        self.there = windows.partition(*where)  # (W, n)
        self.back = windows.reverse(*where)  # (N,)
        self.mask = windows.shift_mask(*where)  # (W, n, n) or None
        self.bias = p.bias  # (H, n, n)
