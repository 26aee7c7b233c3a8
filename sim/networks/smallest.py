"""The smallest machine and the smallest network that show everything the large ones do.

An interpreting simulator such as Icarus runs a whole inference of them in seconds. The network is a
part of the built-in digits network: its first block, of two heads, fewer channels and classes,
4 x 4 pixels. Its logits mean nothing, its integers are as real as all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fqvit_hw.data import digits
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.model import QuantizedModel
from fqvit_hw.network import VisionTransformer
from fqvit_hw.units import LayerNorm, Linear, Requantize, Residual

# So little memory that what is between two layers goes out and comes back: a run writes too.
SMALLEST = Hardware(
    "smallest", rows=4, cols=4, lanes=2, norm_lanes=2, bus=64,
    acts=48, stream=16, codes=32, tiles=64, ring=16, sums=8,
    max_tokens=8, max_channels=16, params=4, prefetch=64,
)  # fmt: skip

SIDE = 4  # pixels: 2 x 2 patches, with the class token 5 tokens
HEADS, HEAD_DIM, HIDDEN, CLASSES = 2, 7, 18, 6  # no size but the tokens' K divides the array's
CHANNELS = HEADS * HEAD_DIM


def part_of_linear(linear: Linear, outputs, inputs) -> Linear:
    return Linear(linear.weight[np.ix_(outputs, inputs)], linear.bias[outputs])


def part_of_requantize(r: Requantize, outputs) -> Requantize:
    return replace(r, multiplier=r.multiplier[outputs], shift=r.shift[outputs])


def part_of_norm(norm: LayerNorm, channels) -> LayerNorm:
    arrays = {name: getattr(norm, name)[channels] for name in ("factor", "gamma", "beta")}
    return replace(norm, **arrays)


def part_of_residual(add: Residual, channels) -> Residual:
    return replace(add, x_factor=add.x_factor[channels], factor=add.factor[channels])


def part_of_block(block, channels, hidden, heads: int = HEADS, head_dim: int = HEAD_DIM):
    """The first `heads` heads, of each the first `head_dim` channels."""
    every = np.arange(block.qkv.weight.shape[0]).reshape(3, block.heads, block.head_dim)
    qkv = every[:, :heads, :head_dim].ravel()
    context = every[0, :heads, :head_dim].ravel()
    return replace(
        block,
        heads=heads,
        norm1=part_of_norm(block.norm1, channels),
        qkv=part_of_linear(block.qkv, qkv, channels),
        qkv_requantize=part_of_requantize(block.qkv_requantize, qkv),
        proj=part_of_linear(block.proj, channels, context),
        proj_requantize=part_of_requantize(block.proj_requantize, channels),
        residual1=part_of_residual(block.residual1, channels),
        norm2=part_of_norm(block.norm2, channels),
        fc1=part_of_linear(block.fc1, hidden, channels),
        fc1_requantize=part_of_requantize(block.fc1_requantize, hidden),
        fc2=part_of_linear(block.fc2, channels, hidden),
        fc2_requantize=part_of_requantize(block.fc2_requantize, channels),
        residual2=part_of_residual(block.residual2, channels),
    )


def digits_network() -> tuple[QuantizedModel, VisionTransformer]:
    """The built-in network, whose parts these are: with what belongs to it, and the integers."""
    qm = QuantizedModel.load(digits.NETWORK_FILE)
    if not isinstance(qm.network, VisionTransformer):
        raise TypeError(f"{digits.NETWORK_FILE}: expected a ViT")
    return qm, qm.network


def smallest_network() -> tuple[QuantizedModel, np.ndarray]:
    """The network and images of noise for it, uint8 (8, 1, SIDE, SIDE)."""
    qm, n = digits_network()
    channels, hidden, classes = np.arange(CHANNELS), np.arange(HIDDEN), np.arange(CLASSES)
    pixels = np.arange(n.patch_embed.weight.shape[1])
    tokens = (SIDE // n.patch) ** 2 + 1
    block = part_of_block(n.blocks[0], channels, hidden)
    last = block.residual2  # what the final LayerNorm reads
    network = replace(
        n,
        height=SIDE,
        width=SIDE,
        patch_embed=part_of_linear(n.patch_embed, channels, pixels),
        patch_embed_requantize=part_of_requantize(n.patch_embed_requantize, channels),
        cls_token=n.cls_token[channels],
        pos_embed=n.pos_embed[:tokens, channels],
        embed=part_of_residual(n.embed, channels),
        blocks=(block,),
        norm=replace(part_of_norm(n.norm, channels), zero=last.zero, factor=last.factor),
        head=part_of_linear(n.head, classes, channels),
        head_requantize=part_of_requantize(n.head_requantize, classes),
    )
    images = np.random.default_rng(0).integers(0, 256, (8, 1, SIDE, SIDE), np.uint8)
    return replace(qm, network=network), images
