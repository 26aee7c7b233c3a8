"""The integer network: the parameters of every unit of a ViT, in the order in which data flows.

Plain frozen dataclasses of integers. Nothing here computes: `engines` run them, `netfile` stores
them, and each class checks on construction that its parts fit together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .formats import ACC, INT8, MAX_TOKENS, IntFormat, bits_needed
from .units import Attention, Gelu, LayerNorm, Linear, Requantize, Residual
from .units.mac_array import worst_accumulator
from .units.params import array_field, scalar_in


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(f"network: {message}")


def check_layer(name: str, linear: Linear, requantize: Requantize, inputs: int, width: int) -> int:
    """Check one Linear, its worst accumulator and its requantize; returns its number of outputs."""
    outputs, got = linear.weight.shape
    expect(got == inputs, f"{name} takes {got} channels, its input has {inputs}")
    expect(requantize.width == width, f"{name} is {requantize.width} bits wide, expected {width}")
    expect(
        requantize.multiplier.shape == (outputs,),
        f"{name} has {outputs} outputs, its multipliers have shape {requantize.multiplier.shape}",
    )
    worst = int(worst_accumulator(linear.weight, linear.bias, -INT8.min).max(initial=0))
    expect(
        worst <= ACC.max,
        f"{name}: the accumulator could overflow: its worst case needs {bits_needed(0, worst) + 1} "
        f"bits, {ACC} has {ACC.width}",
    )
    return outputs


def check_norm(name: str, norm: LayerNorm, source: Residual) -> None:
    """A LayerNorm reads the residual stream in the format in which `source` wrote it."""
    same = (norm.width, norm.zero) == (source.width, source.zero)
    expect(
        same and np.array_equal(norm.factor, source.factor),
        f"{name} expects another width, zero point or PTF factors than its input has",
    )


def check_residual(name: str, add: Residual, source: Residual, branch: Requantize) -> None:
    """A Residual reads the stream that `source` wrote and the branch that `branch` wrote."""
    expect(
        (add.x_width, add.x_zero) == (source.width, source.zero)
        and np.array_equal(add.x_factor, source.factor),
        f"{name} expects another residual stream than the one before it writes",
    )
    expect(
        (add.y_width, add.y_zero) == (branch.width, branch.zero),
        f"{name} expects another branch format than its layer writes",
    )


@dataclass(frozen=True, eq=False)
class Block:
    """One transformer block of C channels, H heads of D, and M hidden channels.

    norm1 int8 -> qkv: (3 * H * D, C), columns q | k | v, each head-major, int8 with zero 0
    -> attention, int8 -> proj: (C, H * D), int8 or int16 -> residual1, the stream
    norm2 int8 -> fc1: (M, C), int16 in steps of 2^(3 - index_width) -> gelu, int8
    -> fc2: (C, M), int8 or int16 -> residual2, the stream
    """

    heads: int
    norm1: LayerNorm
    qkv: Linear
    qkv_requantize: Requantize
    attention: Attention
    proj: Linear
    proj_requantize: Requantize
    residual1: Residual
    norm2: LayerNorm
    fc1: Linear
    fc1_requantize: Requantize
    gelu: Gelu
    fc2: Linear
    fc2_requantize: Requantize
    residual2: Residual

    def check(self, name: str, source: Residual) -> Residual:
        """Check the block after the stream's writer `source`; returns the next writer."""
        channels = len(source.factor)
        scalar_in(self, "heads", 1, channels)
        check_norm(f"{name}.norm1", self.norm1, source)
        width = check_layer(f"{name}.qkv", self.qkv, self.qkv_requantize, channels, 8)
        expect(self.qkv_requantize.zero == 0, f"{name}.qkv needs zero point 0")
        expect(width % (3 * self.heads) == 0, f"{name}.qkv: {width} is not 3 x {self.heads} heads")
        add, branch = self.residual1, self.proj_requantize
        out = check_layer(f"{name}.proj", self.proj, branch, width // 3, add.y_width)
        expect(out == channels, f"{name}.proj has {out} outputs, the stream {channels}")
        check_residual(f"{name}.residual1", add, source, branch)
        check_norm(f"{name}.norm2", self.norm2, add)
        hidden = check_layer(f"{name}.fc1", self.fc1, self.fc1_requantize, channels, 16)
        expect(self.fc1_requantize.zero == 0, f"{name}.fc1 needs zero point 0")
        branch = self.fc2_requantize
        out = check_layer(f"{name}.fc2", self.fc2, branch, hidden, self.residual2.y_width)
        expect(out == channels, f"{name}.fc2 has {out} outputs, the stream {channels}")
        check_residual(f"{name}.residual2", self.residual2, add, branch)
        return self.residual2


@dataclass(frozen=True, eq=False)
class VisionTransformer:
    """A ViT or DeiT from uint8 pixels to int32 logits.

    channels, height, width: of the image; patch: side of a square patch
    patch_embed: (C, channels * patch^2) over codes pixel - 128
    cls_token: (C,) in the format of the patch embedding's branch
    pos_embed: int8 (N, C), zero 0, row 0 for the class token; the x of `embed`
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
        for side in ("height", "width"):
            scalar_in(self, side, 1, 1 << 16)
        scalar_in(self, "channels", 1, 1 << 10)
        scalar_in(self, "patch", 1, min(self.height, self.width))
        expect(
            self.height % self.patch == 0 and self.width % self.patch == 0,
            f"patch {self.patch} does not divide the image {self.height} x {self.width}",
        )
        expect(self.tokens <= MAX_TOKENS, f"{self.tokens} tokens, at most {MAX_TOKENS}")
        inputs, add, branch = self.channels * self.patch**2, self.embed, self.patch_embed_requantize
        stream = check_layer("patch_embed", self.patch_embed, branch, inputs, add.y_width)
        expect(len(add.factor) == stream, f"embed has not {stream} channels")
        array_field(self, "cls_token", IntFormat(add.y_width), (stream,))
        array_field(self, "pos_embed", INT8, (self.tokens, stream))
        expect(
            (add.x_width, add.x_zero, add.y_zero) == (8, 0, branch.zero) and not add.x_factor.any(),
            "embed expects int8 positions with zero point 0, and the patch embedding's zero point",
        )
        source = add
        for i, block in enumerate(self.blocks):
            source = block.check(f"blocks.{i}", source)
        check_norm("norm", self.norm, source)
        check_layer("head", self.head, self.head_requantize, stream, 32)
        expect(self.head_requantize.zero == 0, "head needs zero point 0")

    @property
    def tokens(self) -> int:
        """N: the patches and the class token."""
        return (self.height // self.patch) * (self.width // self.patch) + 1

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width
