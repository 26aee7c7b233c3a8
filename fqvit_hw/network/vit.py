"""The integer ViT or DeiT, from uint8 pixels to int32 logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..formats import MAX_TOKENS, IntFormat
from ..units import LayerNorm, Linear, Requantize, Residual
from ..units.params import array_field
from .block import Block
from .checks import check_image_fields, check_layer, check_norm, expect, written_by
from .steps import VitSteps, vit_steps


@dataclass(frozen=True, eq=False)
class VisionTransformer:
    """A ViT or DeiT from uint8 pixels to int32 logits.

    channels, height, width: of the image; patch: side of a square patch
    patch_embed: (C, channels * patch^2) over codes pixel - 128
    cls_token: (C,) in the format of the patch embedding's branch
    pos_embed: int8 or int16 (N, C), zero 0, row 0 for the class token; the x of `embed`
    norm: applied to the class token only; head_requantize: 32 bits, one common logit scale
    """

    channels: int
    height: int
    width: int
    patch: int
    patch_embed: Linear
    patch_embed_requantize: Requantize
    cls_token: np.ndarray
    pos_embed: np.ndarray
    embed: Residual
    blocks: tuple[Block, ...]
    norm: LayerNorm
    head: Linear
    head_requantize: Requantize

    def __post_init__(self):
        inputs, steps = check_image_fields(self), self.steps
        expect(
            self.height % self.patch == 0 and self.width % self.patch == 0,
            f"patch {self.patch} does not divide the image {self.height} x {self.width}",
        )
        expect(self.tokens <= MAX_TOKENS, f"{self.tokens} tokens, at most {MAX_TOKENS}")
        add, branch = self.embed, self.patch_embed_requantize
        stream = check_layer(steps.patch_embed.name, self.patch_embed, branch, inputs, add.y_width)
        expect(len(add.factor) == stream, f"embed has not {stream} channels")
        array_field(self, "cls_token", IntFormat(add.y_width), (stream,))
        array_field(self, "pos_embed", IntFormat(add.x_width), (self.tokens, stream))
        expect(
            (add.x_zero, add.y_zero) == (0, branch.zero) and not add.x_factor.any(),
            "embed expects positions with zero point 0, and the patch embedding's zero point",
        )
        source = written_by(add)
        for block, at in zip(self.blocks, steps.blocks, strict=True):
            source = block.check(at, source)
        check_norm(steps.norm.name, self.norm, source)
        check_layer(steps.head.name, self.head, self.head_requantize, stream, 32)
        expect(self.head_requantize.zero == 0, "head needs zero point 0")

    @property
    def steps(self) -> VitSteps:
        """The tensors between its units, in order."""
        return vit_steps(len(self.blocks))

    @property
    def tokens(self) -> int:
        """N: the patches and the class token."""
        return (self.height // self.patch) * (self.width // self.patch) + 1

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width
