"""The sizes of a ViT: all that its plan and its schedule depend on."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import UserError
from ...machine.hardware import Hardware
from ...network import VisionTransformer
from ...paper_models import VitSize
from ..tiling import ceil, whole_beats, whole_groups

NO_BLOCKS = "compile: a network without blocks has no attention to run"


@dataclass(frozen=True)
class Shape:
    """colors, height, width: of the image; patch: side of one; channels: of a token; hidden: of the
    MLP; depth: blocks. Raises ValueError for a network without blocks."""

    colors: int
    height: int
    width: int
    patch: int
    channels: int
    heads: int
    head_dim: int
    hidden: int
    classes: int
    depth: int

    def __post_init__(self):
        if self.depth < 1:
            raise UserError(NO_BLOCKS)

    @classmethod
    def of_size(cls, size: VitSize) -> Shape:
        return cls(
            colors=size.colors,
            height=size.image,
            width=size.image,
            patch=size.patch,
            channels=size.channels,
            heads=size.heads,
            head_dim=size.channels // size.heads,
            hidden=size.hidden,
            classes=size.classes,
            depth=size.depth,
        )

    @classmethod
    def of_network(cls, network: VisionTransformer) -> Shape:
        """Raises ValueError if its blocks differ: the schedule is the same for all."""
        if not network.blocks:
            raise UserError(NO_BLOCKS)
        kinds = {(block.heads, block.head_dim, len(block.fc1.weight)) for block in network.blocks}
        if len(kinds) > 1:
            raise UserError("compile: all blocks must have the same heads and hidden channels")
        ((heads, head_dim, hidden),) = kinds
        return cls(
            colors=network.channels,
            height=network.height,
            width=network.width,
            patch=network.patch,
            channels=len(network.norm.factor),
            heads=heads,
            head_dim=head_dim,
            hidden=hidden,
            classes=len(network.head.weight),
            depth=len(network.blocks),
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.colors, self.height, self.width

    @property
    def strips(self) -> int:
        """Rows of patches."""
        return self.height // self.patch

    @property
    def strip(self) -> int:
        """Patches of a row."""
        return self.width // self.patch

    @property
    def tokens(self) -> int:
        """N: the patches and the class token."""
        return self.strips * self.strip + 1

    @property
    def patch_bytes(self) -> int:
        return self.colors * self.patch**2

    @property
    def macs(self) -> int:
        """The network's own multiplications and shifts."""
        N, C, HD = self.tokens, self.channels, self.heads * self.head_dim
        block = N * C * 3 * HD + 2 * N * N * HD + N * HD * C + 2 * N * C * self.hidden
        patches = (N - 1) * self.patch_bytes * C
        return patches + self.depth * block + C * self.classes


@dataclass(frozen=True)
class RowWords:
    """Words of a row of each tensor on one machine: what memory and the array's groups of K tiles
    take, so that nobody ever reads or writes a part of another row."""

    normed: int  # LayerNorm output
    stream: int
    stream_tiles: int  # words of them with channels
    head: int  # of q, and of one head's context
    context: int
    hidden: int
    patch: int
    codes: int
    key_tiles: int
    value_tiles: int
    key_stride: int
    value_stride: int

    @classmethod
    def of(cls, shape: Shape, hw: Hardware) -> RowWords:
        R, C = hw.rows, hw.cols
        head = whole_beats(ceil(shape.head_dim, R), R, hw)
        tiles = ceil(shape.channels, C)
        key_stride, value_stride = ceil(shape.head_dim, R), ceil(shape.head_dim, C)
        return cls(
            normed=whole_groups(ceil(shape.channels, R), hw, True),
            stream=whole_beats(tiles, hw.stream_bytes, hw),
            stream_tiles=tiles,
            head=head,
            context=whole_groups(head * shape.heads, hw, True),
            hidden=whole_groups(ceil(shape.hidden, R), hw),
            patch=whole_groups(ceil(shape.patch_bytes, R), hw),
            codes=ceil(shape.tokens, R),
            key_tiles=ceil(shape.tokens, C) * key_stride,
            value_tiles=ceil(shape.tokens, R) * value_stride,
            key_stride=key_stride,
            value_stride=value_stride,
        )

    @property
    def depths(self) -> tuple[int, ...]:
        """K tiles of the Linears."""
        return self.normed, self.context, self.hidden, self.patch
