"""The one walk over an integer network: which unit follows which, for every engine.

An engine is a set of operations on its own kind of array (`numpy_ops.NumpyOps` documents them). The
walk applies them in the order of `network.steps`, and shows every tensor that passes between two
units to `record(name, tensor)`, a numpy array with the batch axis first. Without a record an engine
may fuse what belongs together; with one it computes step by step.
"""

from __future__ import annotations

from collections.abc import Callable

from ..network import Block, SwinBlock, SwinTransformer, VisionTransformer
from ..network.step import Step
from ..network.steps import BlockSteps, MergeSteps
from ..units import windows

Record = Callable[[str, object], None]


class Walk:
    """One run of `network` with the operations `ops`."""

    def __init__(self, network, ops, record: Record | None = None):
        self.network, self.ops, self.record = network, ops, record

    def logits(self, images):
        """images: uint8 (B, C, H, W) -> the engine's int32 (B, classes)."""
        network, ops, steps = self.network, self.ops, self.network.steps
        if isinstance(network, SwinTransformer):
            *_, (x, _) = self.swin_stages(images)
            x = self.norm(x, steps.norm)  # (B, N, C)
            x = self.seen(steps.pool, ops.pool(x, network.pool, self.part(steps.pool.name)))
        else:
            x = self.vit_blocks(images)
            x = self.norm(x[:, 0], steps.norm)  # the class token, (B, C)
        return self.linear(x, steps.head)

    def seen(self, step: Step, tensor):
        if self.record:
            self.record(step.name, self.ops.numpy(tensor))
        return tensor

    def part(self, name: str) -> Record | None:
        """A record for what an operation computes inside, under `name`."""
        if self.record is None:
            return None
        return lambda part, tensor: self.record(f"{name}.{part}", self.ops.numpy(tensor))

    def norm(self, x, step: Step):
        return self.seen(step, self.ops.layernorm(x, step.parameters(self.network)))

    def linear(self, x, step: Step):
        """One Linear and its requantize."""
        layer, scaling = step.parameters(self.network), step.scaling(self.network)
        return self.seen(step, self.ops.linear(x, layer, scaling, self.part(step.name)))

    def vit_blocks(self, images):
        """-> the residual stream (B, N, C) after the last block."""
        network: VisionTransformer = self.network
        ops, steps = self.ops, network.steps
        x = self.seen(steps.image, ops.patches(images, network.patch))
        x = self.linear(x, steps.patch_embed)
        x = ops.embed(x, network.cls_token, network.pos_embed, network.embed)
        self.seen(steps.embed, x)
        for block, at in zip(network.blocks, steps.blocks, strict=True):
            x = self.block(x, at, block)
        return x

    def swin_stages(self, images):
        """Yields the residual stream (B, N, C) and its grid (height, width) after every stage."""
        network: SwinTransformer = self.network
        steps = network.steps
        height, width = (-(-side // network.patch) for side in images.shape[2:])
        x = self.seen(steps.image, self.ops.patches(images, network.patch, network.pad))
        x = self.linear(x, steps.patch_embed)
        x = self.norm(x, steps.patch_embed_norm)
        for stage, blocks in zip(steps.stages, network.stages, strict=True):
            if stage.merge:
                x = self.merge(x, stage.merge, (height, width))
                height, width = (height + 1) // 2, (width + 1) // 2
            for block, at in zip(blocks, stage.blocks, strict=True):
                x = self.block(x, at, block.block, Windowed(block, height, width))
            yield x, (height, width)

    def merge(self, x, steps: MergeSteps, grid: tuple[int, int]):
        """x: (B, N, C) of a grid -> (B, N / 4, 2 C), the last row and column padded where odd."""
        x = self.ops.take(x, windows.merging(*grid), steps.norm.parameters(self.network).zero)
        B, N, four, C = x.shape
        x = x.reshape(B, N, four * C)  # (B, N / 4, 4, C) -> (B, N / 4, 4 * C)
        return self.linear(self.norm(x, steps.norm), steps.reduction)

    def block(self, x, steps: BlockSteps, block: Block, windowed: Windowed | None = None):
        """x: the residual stream (B, N, C) -> the same after one block."""
        ops = self.ops
        y = self.norm(x, steps.norm1)
        bias = mask = None
        if windowed:
            y = ops.take(y, windowed.there, block.norm1.zero_out)  # (B, N, C) -> (B, W, n, C)
            bias, mask = windowed.bias, windowed.mask
        y = self.linear(y, steps.qkv)
        record = self.part(steps.attention)
        y = ops.attention(y, block.heads, block.attention, bias, mask, record)
        y = self.branch(x, y, steps.proj, steps.residual1, windowed)
        return self.mlp(y, steps, block)

    def mlp(self, x, steps: BlockSteps, block: Block):
        """The second half of a block: norm2, fc1, GELU, fc2."""
        ops = self.ops
        y = self.norm(x, steps.norm2)
        if self.record:
            y = self.seen(steps.gelu, ops.gelu(self.linear(y, steps.fc1), block.gelu))
        else:
            y = ops.linear_gelu(y, block.fc1, block.fc1_requantize, block.gelu)
        return self.branch(x, y, steps.fc2, steps.residual2)

    def branch(self, x, y, layer: Step, add: Step, windowed: Windowed | None = None):
        """The end of a branch: its last Linear, put back in order, and the residual add to x."""
        ops, p = self.ops, add.parameters(self.network)
        if self.record is None and windowed is None:
            linear, scaling = layer.parameters(self.network), layer.scaling(self.network)
            return ops.linear_residual(y, linear, scaling, x, p)
        y = self.linear(y, layer)
        if windowed:
            B, W, n, C = y.shape
            y = ops.take(y.reshape(B, W * n, C), windowed.back, None)  # -> (B, N, C)
        return self.seen(add, ops.residual(x, y, p))


class Windowed:
    """The addresses of one SwinBlock on a grid of height x width tokens, and its bias and mask."""

    def __init__(self, p: SwinBlock, height: int, width: int):
        where = (height, width, (p.height, p.width), (p.shift_y, p.shift_x))
        self.there = windows.partition(*where)  # (W, n)
        self.back = windows.reverse(*where)  # (N,)
        self.mask = windows.shift_mask(*where)  # (W, n, n) or None
        self.bias = p.bias  # (H, n, n)
