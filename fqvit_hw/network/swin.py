"""The integer Swin Transformer: windows, shifts and patch merging around the same block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..formats import ACC, INT8, INT32, MAX_TOKENS, PTF_BITS, IntFormat, bits_needed
from ..units import LayerNorm, Linear, Pool, Requantize
from ..units.params import array_field, scalar_in
from .block import Block
from .checks import Stream, check_image_fields, check_layer, check_norm, expect
from .steps import BlockSteps, MergeSteps, SwinSteps, swin_steps

MERGED = 4  # tokens that patch merging joins: 2 x 2


@dataclass(frozen=True, eq=False)
class SwinBlock:
    """A block whose attention stays within windows of `height` x `width` tokens.

    shift_y, shift_x: the cyclic shift before the partition, 0 for none; masked pairs follow from
    it (units/windows.py). bias: int32 (H, N, N), the relative position bias in steps of the score
    accumulator, N = height * width.
    """

    height: int
    width: int
    shift_y: int
    shift_x: int
    bias: np.ndarray
    block: Block

    def __post_init__(self):
        for side, shift in (("height", "shift_y"), ("width", "shift_x")):
            scalar_in(self, side, 1, MAX_TOKENS)
            scalar_in(self, shift, 0, getattr(self, side) - 1)
        expect(self.tokens <= MAX_TOKENS, f"window of {self.tokens} tokens, at most {MAX_TOKENS}")
        array_field(self, "bias", INT32, (self.block.heads, self.tokens, self.tokens))

    @property
    def tokens(self) -> int:
        """N: tokens of a window."""
        return self.height * self.width

    def check(self, steps: BlockSteps, source: Stream) -> Stream:
        out = self.block.check(steps, source)
        largest = INT8.min**2 * self.block.head_dim
        worst = largest + int(np.abs(self.bias.astype(np.int64)).max(initial=0))
        expect(
            worst <= ACC.max,
            f"{steps.score.name}: the accumulator with its bias could overflow: its worst case "
            f"needs {bits_needed(0, worst) + 1} bits, {ACC} has {ACC.width}",
        )
        return out


@dataclass(frozen=True, eq=False)
class PatchMerging:
    """2 x 2 tokens of C channels become one: norm (4C,) -> reduction (2C, 4C) -> the stream.

    Channels of the four tokens stand in the order (x, y, C): top left, bottom left, top right,
    bottom right. The norm has the PTF factors of its source four times over. factor: (2C,) PTF
    exponents of the stream that the reduction writes; its multipliers hold them already.
    """

    norm: LayerNorm
    reduction: Linear
    reduction_requantize: Requantize
    factor: np.ndarray

    def __post_init__(self):
        factor = array_field(self, "factor", IntFormat(PTF_BITS, False))
        expect(factor.ndim == 1, f"patch merging: factor has shape {factor.shape}")

    def check(self, steps: MergeSteps, source: Stream) -> Stream:
        four = source._replace(factor=np.tile(source.factor, MERGED))
        check_norm(steps.norm.name, self.norm, four)
        layer, scaling = self.reduction, self.reduction_requantize
        out = check_layer(steps.reduction.name, layer, scaling, four.channels, scaling.width)
        factors = self.factor.shape
        expect(factors == (out,), f"{steps.name}: {out} channels, {factors} factors")
        return Stream(scaling.width, scaling.zero, self.factor)


@dataclass(frozen=True, eq=False)
class SwinTransformer:
    """A Swin Transformer from uint8 pixels to int32 logits.

    channels, height, width: of the image; patch: side of a square patch; pad: int8 (channels,), the
    code of a padding pixel, round(255 * mean) - 128
    patch_embed: (C, channels * patch^2) over codes pixel - 128, then its own LayerNorm, whose int8
    output is the first residual stream
    stages: their blocks; merges: patch merging before each stage but the first
    norm, pool: over all tokens of the last stage, then their mean; head_requantize: 32 bits
    """

    channels: int
    height: int
    width: int
    patch: int
    pad: np.ndarray
    patch_embed: Linear
    patch_embed_requantize: Requantize
    patch_embed_norm: LayerNorm
    stages: tuple[tuple[SwinBlock, ...], ...]
    merges: tuple[PatchMerging, ...]
    norm: LayerNorm
    pool: Pool
    head: Linear
    head_requantize: Requantize

    def __post_init__(self):
        inputs, norm, steps = check_image_fields(self), self.patch_embed_norm, self.steps
        array_field(self, "pad", INT8, (self.channels,))
        scaling = self.patch_embed_requantize
        out = check_layer(steps.patch_embed.name, self.patch_embed, scaling, inputs, norm.width)
        expect(
            scaling.zero == norm.zero and norm.factor.shape == (out,),
            f"{steps.patch_embed_norm.name} expects another zero point or channels than the patch "
            "embedding has",
        )
        expect(all(self.stages), "a stage has no blocks")
        expect(
            0 < len(self.stages) == len(self.merges) + 1,
            f"{len(self.stages)} stages need a patch merging between each two, "
            f"got {len(self.merges)}",
        )
        source = Stream(8, norm.zero_out, np.zeros(out, np.uint8))
        merges = (None, *self.merges)  # none before the first stage
        for merge, blocks, stage in zip(merges, self.stages, steps.stages, strict=True):
            if merge and stage.merge:
                source = merge.check(stage.merge, source)
            for block, at in zip(blocks, stage.blocks, strict=True):
                source = block.check(at, source)
        check_norm(steps.norm.name, self.norm, source)
        height, width = (-(-side // 2 ** len(self.merges)) for side in self.grid)
        expect(
            self.pool.tokens == height * width,
            f"pool is for {self.pool.tokens} tokens, the last stage has {height} x {width}",
        )
        expect(self.pool.zero == self.norm.zero_out, "pool expects another zero point than norm's")
        check_layer(steps.head.name, self.head, self.head_requantize, source.channels, 32)
        expect(self.head_requantize.zero == 0, "head needs zero point 0")

    @property
    def steps(self) -> SwinSteps:
        """The tensors between its units, in order."""
        return swin_steps(tuple(map(len, self.stages)))

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width in tokens of the first stage, for images of the network's own size."""
        return -(-self.height // self.patch), -(-self.width // self.patch)

    @property
    def tokens(self) -> int:
        """Tokens of the first stage, where there are most."""
        return self.grid[0] * self.grid[1]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width
