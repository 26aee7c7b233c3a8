"""What a ViT's program finds in memory: each constant's size, and its bytes from a network.

A schedule asks for sizes only; the bytes are made when the memory image is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...machine.hardware import Hardware
from ...machine.layouts import GELU, GELU_ENTRIES, NORM, SOFTMAX, SOFTMAX_ENTRIES
from ...network import VisionTransformer
from ...network.step import Step
from ...units import residual
from ..pack import pack_gelu, pack_norm, pack_params, pack_softmax, pack_stream, pack_weights
from ..patterns import Place

QKV_PARTS = "qkv"  # in the order of the layer's outputs


class VitConstant(Protocol):
    """Of a region of the memory map; content: integers of `size` bytes."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def content(self, network: VisionTransformer, hw: Hardware) -> np.ndarray: ...


@dataclass(frozen=True)
class NormTable:
    step: Step
    channels: int
    place = Place.NORM_TABLE

    @property
    def name(self) -> str:
        return f"{self.step.name} parameters"

    @property
    def size(self) -> int:
        return NORM.bytes * self.channels

    def content(self, network: VisionTransformer, hw: Hardware) -> np.ndarray:
        return pack_norm(self.step.parameters(network))


@dataclass(frozen=True)
class SoftmaxTable:
    """Of a softmax; attention: what the names of its block's attention begin with."""

    step: Step
    attention: str
    place = Place.SOFTMAX_TABLE
    size = SOFTMAX_ENTRIES * SOFTMAX.bytes

    @property
    def name(self) -> str:
        return f"{self.attention} softmax table"

    def content(self, network: VisionTransformer, hw: Hardware) -> np.ndarray:
        return pack_softmax(self.step.parameters(network).table)


@dataclass(frozen=True)
class GeluTable:
    step: Step
    place = Place.GELU_TABLE
    size = GELU_ENTRIES * GELU.bytes

    @property
    def name(self) -> str:
        return f"{self.step.name} table"

    def content(self, network: VisionTransformer, hw: Hardware) -> np.ndarray:
        return pack_gelu(self.step.parameters(network))


@dataclass(frozen=True)
class Positions:
    """The position embedding of all patches, column tile by column tile: (tiles, N - 1, lanes)."""

    size: int
    name = "positions"

    def content(self, network: VisionTransformer, hw: Hardware) -> np.ndarray:
        padded = pack_stream(network.pos_embed[1:], hw)  # (N - 1, tiles * lanes)
        return padded.reshape(len(padded), -1, hw.cols).transpose(1, 0, 2)


@dataclass(frozen=True)
class ClassToken:
    """Row 0 of the stream, which is the same for every image."""

    step: Step  # the residual add of the patch embedding
    size: int
    name = "class token"

    def content(self, network: VisionTransformer, hw: Hardware) -> np.ndarray:
        add = self.step.parameters(network)
        row = residual(network.pos_embed[:1], network.cls_token[None], add)
        return pack_stream(row, hw)


@dataclass(frozen=True)
class LinearWeights:
    """Parameters and tiles of a Linear. add: the residual that its epilogue makes, or None."""

    step: Step
    add: Step | None
    k_tiles: int
    size: int

    @property
    def name(self) -> str:
        return f"{self.step.name} weights"

    def content(self, network: VisionTransformer, hw: Hardware) -> np.ndarray:
        weight = self.weight(self.step.parameters(network).weight)
        return pack_weights(hw, weight, self.k_tiles, self.params(network))

    def weight(self, weight: np.ndarray) -> np.ndarray:
        """int8 (out, K) -> in the order of the operand's bytes."""
        return weight

    def params(self, network: VisionTransformer) -> np.ndarray:
        linear, scaling = self.step.parameters(network), self.step.scaling(network)
        factors = ()
        if self.add:
            add = self.add.parameters(network)
            factors = add.x_factor, add.factor
        return pack_params(linear.bias, scaling.multiplier, scaling.shift, *factors)


@dataclass(frozen=True)
class ProjWeights(LinearWeights):
    """Of proj, whose operand has each head padded to `head_bytes`."""

    heads: int
    head_bytes: int

    def weight(self, weight: np.ndarray) -> np.ndarray:
        out = len(weight)
        heads = weight.reshape(out, self.heads, -1)  # (out, H * D) -> (out, H, D)
        padded = np.zeros((out, self.heads, self.head_bytes), np.int8)
        padded[:, :, : heads.shape[2]] = heads
        return padded.reshape(out, -1)


@dataclass(frozen=True)
class HeadWeights:
    """Parameters and tiles of one head's q, k or v; start: its first output channel of qkv.

    Of `columns` columns those from head_dim on are padding: all 0, and so is what they give.
    """

    step: Step
    head: int
    part: str
    start: int
    head_dim: int
    columns: int
    k_tiles: int
    size: int

    @property
    def name(self) -> str:
        return f"{self.step.name} head {self.head} {self.part} weights"

    def content(self, network: VisionTransformer, hw: Hardware) -> np.ndarray:
        linear, scaling = self.step.parameters(network), self.step.scaling(network)
        weight = self.padded(linear.weight, 0).astype(np.int8)
        params = pack_params(
            self.padded(linear.bias, 0),
            self.padded(scaling.multiplier, 0),
            self.padded(scaling.shift, 1),  # the least there is
        )
        return pack_weights(hw, weight, self.k_tiles, params)

    def padded(self, values: np.ndarray, fill: int) -> np.ndarray:
        """The head's rows of (3 * H * D, ...) -> int64 (columns, ...)"""
        out = np.full((self.columns, *values.shape[1:]), fill, np.int64)
        out[: self.head_dim] = values[self.start : self.start + self.head_dim]
        return out
