"""Changes of the float weights that leave the float model as it is and its integers more exact.

Positions: whatever all patches have in common moves from the int8 position embedding into the patch
embedding's bias, and the class token takes its own position along. What is left has a smaller
range. The branch has 16 bits for what moved.

Values: a channel v of the values enters as (v - middle) / size, so that all channels use their int8
codes well; the projection's weights take `size` back, its bias the `middle`: a row of attention
sums to 1, and what all values have in common passes through it. q and k stay as they are.

Norms: the same with the output of a block's LayerNorm, which has gamma and beta for it, and the
layer behind it.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from ..config import QuantConfig
from ..network.scale import Scale
from ..network.step import Step
from ..network.steps import SwinSteps, VitSteps
from .exact import ordered_sum
from .float_steps import steps_of
from .observers import Range, observe

# 1 would make all channels equal: each value would leave its codes on other images, and the weights
# behind a norm become too unequal. In 64ths: 0.703 and 0.5
VALUES, NORMS = 45, 32
SMALLEST = 1e-3  # size of a channel beside that of the largest: a dead one stays finite

# size and middle of a step's tensor: what it was = size * what it is now + middle
Folded = dict[Step, tuple[np.ndarray, np.ndarray]]


@torch.no_grad()
def fold(model, images, mean, std, config: QuantConfig):
    """-> a changed copy of the model (itself if nothing is folded), and what was done to it."""
    folded: Folded = {}
    steps = steps_of(model)
    wanted: set[Step] = set()
    for at in steps.blocks:
        if config.fold_values:
            wanted.add(at.qkv)
        if config.fold_norms:
            # a Swin pads with 0 behind norm1
            wanted |= {at.norm2} if isinstance(steps, SwinSteps) else {at.norm1, at.norm2}
    found: dict[Step, Columns] = {}
    if wanted:  # one pass over the images
        found = observe(
            model, images, mean, std, lambda step: Columns() if step in wanted else None
        )
    if wanted or config.fold_positions:
        model = copy.deepcopy(model)
    if config.fold_positions and isinstance(steps, VitSteps):
        folded[steps.patch_embed] = fold_positions(model)
    for at in steps.blocks:
        block = model.get_submodule(at.name)
        if at.norm1 in found:
            folded[at.norm1] = fold_norm(block.norm1, block.attn.qkv, found[at.norm1].range)
        if at.qkv in found:
            size, middle = folded[at.qkv] = fold_values(block.attn, found[at.qkv].range)
            # (3 * H * D,) -> (H, 1, D), as the context has them
            parts = (part.reshape(3, block.attn.num_heads, 1, -1)[2] for part in (size, middle))
            folded[at.context] = tuple(parts)
        if at.norm2 in found:
            folded[at.norm2] = fold_norm(block.norm2, block.mlp.fc1, found[at.norm2].range)
    return model, folded


class Columns:
    """Smallest and largest value of every column, over all images."""

    def __init__(self):
        self.low, self.high = np.array(np.inf), np.array(-np.inf)

    def update(self, x: torch.Tensor) -> None:
        low, high = torch.aminmax(x.flatten(-2).flatten(0, -2), dim=0)
        self.low = np.minimum(self.low, low.double().numpy())
        self.high = np.maximum(self.high, high.double().numpy())

    @property
    def range(self) -> Range:
        return Range(self.low, self.high)


def fold_positions(model):
    """Returns size and middle of the patch embedding's output."""
    pos, conv = model.pos_embed, model.patch_embed.proj
    model.cls_token += pos[:, :1]
    pos[:, 0] = 0
    low, high = torch.aminmax(pos[0, 1:].double(), dim=0)
    middle = (low + high) / 2
    pos[:, 1:] -= middle
    add_bias(conv, middle)
    return np.ones(1), -middle.numpy()


def sizes(low: np.ndarray, high: np.ndarray, power: int):
    """-> size (1 for the largest channel) and middle of channels of the range low to high."""
    half = (high - low) / 2
    return root(np.maximum(half / (half.max() or 1.0), SMALLEST), power), (low + high) / 2


def root(x: np.ndarray, power: int) -> np.ndarray:
    """x to the power of power / 64, by square roots: unlike powers they are the same everywhere."""
    found = np.ones_like(x)
    for bit in range(6):  # the 32, which is a square root, to the 1
        x = np.sqrt(x)
        if power & (32 >> bit):
            found = found * x
    return found


def fold_norm(norm, layer, found: Range):
    """found: of the norm's output; layer: the one behind it. Returns size and middle."""
    size, middle = sizes(*found, NORMS)
    factor, shift = torch.tensor(size), torch.tensor(middle)
    add_bias(layer, ordered_sum(layer.weight.double() * shift))
    layer.weight *= factor
    add_bias(norm, -shift)
    norm.weight /= factor
    norm.bias /= factor
    return size, middle


def fold_values(attn, found: Range):
    """found: of the columns q | k | v. Returns size and middle of every column."""
    channels = len(found.low) // 3
    size, middle = sizes(found.low[-channels:], found.high[-channels:], VALUES)
    v = slice(2 * channels, None)
    shift, factor = torch.tensor(middle), torch.tensor(size)
    add_bias(attn.proj, ordered_sum(attn.proj.weight.double() * shift))
    attn.proj.weight *= factor
    bias = torch.zeros(3 * channels, dtype=torch.float64)
    bias[v] = -shift
    add_bias(attn.qkv, bias)
    attn.qkv.weight[v] /= factor[:, None]
    attn.qkv.bias[v] /= factor
    others = np.zeros(2 * channels)
    return np.concatenate([others + 1, size]), np.concatenate([others, middle])


def add_bias(layer, bias: torch.Tensor) -> None:
    """To a Linear, a convolution or a LayerNorm, with or without a bias of its own."""
    own = 0 if layer.bias is None else layer.bias
    layer.bias = nn.Parameter((bias + own).float(), requires_grad=False)


def unfolded(scales: dict[str, Scale], folded: Folded) -> dict[str, Scale]:
    """The scales of the folded model's tensors as scales of the original one's, for reports."""
    found = dict(scales)
    for step, (size, middle) in folded.items():
        for tensor in step.tensors():
            if tensor in scales:
                old = scales[tensor]
                found[tensor] = Scale(old.scale * size, old.zero, old.factor, offset=middle)
    return found
