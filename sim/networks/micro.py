"""A small machine for `make mutants`, and a network for it: another part of the digits network.

The digits network's residual stream has 8 bits; `wide_network` gives it the 16 of the preset
`best`. Its logits mean nothing, its integers are as real as all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fqvit_hw.data import digits
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.model import QuantizedModel
from fqvit_hw.units import LayerNorm, Residual

from .smallest import (
    digits_network,
    part_of_block,
    part_of_linear,
    part_of_norm,
    part_of_requantize,
    part_of_residual,
)

# R < C and several lanes, so that nothing is equal by chance; a ring that is no power of two. The
# digits network is spilled and has K in groups; the part stays on chip.
MICRO = Hardware(
    "micro", rows=4, cols=8, lanes=2, norm_lanes=2, bus=64,
    acts=780, stream=96, codes=128, tiles=128, ring=24, sums=32,
    max_tokens=32, max_channels=64, params=4, prefetch=32,
    modes=("max4", "lis4", "uniform8"),
)  # fmt: skip
SIZES = {MICRO.name: MICRO}

HEADS, HEAD_DIM, HIDDEN, CLASSES, BLOCKS = 3, 11, 75, 7, 2
CHANNELS = HEADS * HEAD_DIM
FINER = 4  # bits that the stream of 16 has after those of the 8 and of PTF's 3


def wide_residual(add: Residual) -> Residual:
    """x (of 16 bits; int8 positions keep theirs) and y in the scales they had, the sum finer."""
    zeros = np.zeros_like(add.factor)
    if not add.x_factor.any():  # the positions: of x and y and the sum only the sum is finer
        return replace(add, shift=add.shift - FINER, width=16, zero=0, factor=zeros)
    return replace(
        add, x_width=16, x_zero=0, x_factor=zeros, y_multiplier=add.y_multiplier << FINER,
        width=16, zero=0, factor=zeros,
    )  # fmt: skip


def wide_norm(norm: LayerNorm) -> LayerNorm:
    zeros = np.zeros_like(norm.factor)
    return replace(norm, factor=zeros, zero=0, width=16, eps=norm.eps << 2 * FINER)


def wide_network() -> tuple[QuantizedModel, np.ndarray]:
    """17 tokens of 33 channels, 3 heads of 11, nothing a multiple of anything; and digits."""
    qm, n = digits_network()
    channels, hidden, classes = np.arange(CHANNELS), np.arange(HIDDEN), np.arange(CLASSES)
    pixels = np.arange(n.patch_embed.weight.shape[1])
    blocks = []
    for block in n.blocks[:BLOCKS]:
        part = part_of_block(block, channels, hidden, HEADS, HEAD_DIM)
        wider = {name: wide_norm(getattr(part, name)) for name in ("norm1", "norm2")}
        wider |= {name: wide_residual(getattr(part, name)) for name in ("residual1", "residual2")}
        blocks.append(replace(part, **wider))
    network = replace(
        n,
        patch_embed=part_of_linear(n.patch_embed, channels, pixels),
        patch_embed_requantize=part_of_requantize(n.patch_embed_requantize, channels),
        cls_token=n.cls_token[channels],
        pos_embed=n.pos_embed[:, channels],
        embed=wide_residual(part_of_residual(n.embed, channels)),
        blocks=tuple(blocks),
        norm=wide_norm(part_of_norm(n.norm, channels)),
        head=part_of_linear(n.head, classes, channels),
        head_requantize=part_of_requantize(n.head_requantize, classes),
    )
    return replace(qm, network=network), digits.test_set()[0]
