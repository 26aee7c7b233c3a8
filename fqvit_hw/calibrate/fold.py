"""Changes of the float weights that leave the float model as it is and its integers more exact.

Positions: whatever all patches have in common moves from the int8 position embedding into the patch
embedding's bias, and the class token takes its own position along. What is left has a smaller
range. The branch has 16 bits for what moved.

Values: a channel v of the values enters as (v - middle) / size, so that all channels use their int8
codes well; the projection's weights take `size` back, its bias the `middle`: a row of attention
sums to 1, and what all values have in common passes through it. q and k stay as they are.

Norms: the same with the output of a block's LayerNorm, which has gamma and beta for it, and the
layer behind it.

A channel that would leave the range of gamma, beta or a requantizer keeps its size and its middle.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from ..config import QuantConfig
from ..formats import BETA, BETA_FRACTION, GAMMA, INT8
from ..network.scale import Scale
from ..network.step import Step
from ..network.steps import SwinSteps, VitSteps
from .exact import ordered_sum
from .float_steps import steps_of
from .observers import Range, observe

# 1 would make all channels equal: each value would leave its codes on other images, and the weights
# behind a norm become too unequal. In 64ths: 0.703 and 0.5
VALUES, NORMS = 45, 32
LARGEST_RATIO = 2.0**14  # of an accumulator step in output steps: half of what there is
SMALLEST = 1e-3  # size of a channel beside that of the largest: a dead one stays finite

# size and middle of a step's tensor: what it was = size * what it is now + middle
Folded = dict[Step, tuple[np.ndarray, np.ndarray]]
Kept = dict[Step, np.ndarray]  # bool (channels,): those that stay as they are


def ranges_to_fold(model, images, mean, std, config: QuantConfig) -> dict[Step, Range]:
    """The range of every column of the tensors to be folded, by one pass over the images."""
    steps = steps_of(model)
    wanted: set[Step] = set()
    for at in steps.blocks:
        if config.fold_values:
            wanted.add(at.qkv)
        if config.fold_norms:
            # a Swin pads with 0 behind norm1
            wanted |= {at.norm2} if isinstance(steps, SwinSteps) else {at.norm1, at.norm2}
    if not wanted:
        return {}
    found = observe(model, images, mean, std, lambda step: Columns() if step in wanted else None)
    return {step: columns.range for step, columns in found.items()}


@torch.no_grad()
def fold(model, found: dict[Step, Range], config: QuantConfig, kept: Kept):
    """-> a changed copy of the model (itself if nothing is folded), and what was done to it.

    found: of ranges_to_fold
    """
    folded: Folded = {}
    steps = steps_of(model)
    if found or config.fold_positions:
        model = copy.deepcopy(model)
    if config.fold_positions and isinstance(steps, VitSteps):
        folded[steps.patch_embed] = fold_positions(model)
    for at in steps.blocks:
        block = model.get_submodule(at.name)
        if at.norm1 in found:
            folded[at.norm1] = size_and_middle(found[at.norm1], NORMS, kept.get(at.norm1))
            fold_norm(block.norm1, block.attn.qkv, *folded[at.norm1])
        if at.qkv in found:
            third = len(found[at.qkv].low) // 3
            values = Range(*(end[-third:] for end in found[at.qkv]))
            size, middle = size_and_middle(values, VALUES, kept.get(at.qkv))
            fold_values(block.attn, size, middle)
            others = np.zeros(2 * third)  # q and k
            size, middle = np.concatenate([others + 1, size]), np.concatenate([others, middle])
            folded[at.qkv] = size, middle
            # (3 * H * D,) -> (H, 1, D), as the context has them
            parts = (part.reshape(3, block.attn.num_heads, 1, -1)[2] for part in (size, middle))
            folded[at.context] = tuple(parts)
        if at.norm2 in found:
            folded[at.norm2] = size_and_middle(found[at.norm2], NORMS, kept.get(at.norm2))
            fold_norm(block.norm2, block.mlp.fc1, *folded[at.norm2])
    return model, folded


def unfit(model, folded: Folded, scales: dict[str, Scale], kept: Kept) -> Kept:
    """The channels to keep of every step with one that folding takes beyond its unit's range.

    model: the folded one; scales: those that calibration found for it, whatever its observer. A
    channel that is kept makes no range smaller, so that no other leaves its own because of it.
    """
    found: Kept = {}
    for at in steps_of(model).blocks:
        block = model.get_submodule(at.name)
        for step, norm in ((at.norm1, block.norm1), (at.norm2, block.norm2)):
            if step in folded:
                gamma, beta = (
                    np.abs(p.detach().double().numpy() / float(scales[step.name].scale))
                    for p in (norm.weight, norm.bias)
                )
                found[step] = (gamma > GAMMA.max) | (beta * (1 << BETA_FRACTION) > BETA.max)
        if at.qkv in folded:
            weight = block.attn.qkv.weight.detach().double().numpy()
            largest = np.abs(weight[-len(weight) // 3 :]).max(1) / INT8.max
            ratio = largest * float(scales[at.norm1.name].scale) / scales[at.qkv.name].scale[-1]
            found[at.qkv] = ratio > LARGEST_RATIO
    more: Kept = {}
    for step, beyond in found.items():
        old = kept.get(step, np.zeros_like(beyond))
        if (beyond & ~old).any():
            more[step] = beyond | old
    return more


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


def size_and_middle(found: Range, power: int, kept: np.ndarray | None):
    """found: of channels -> size, 1 for the largest, and middle; 1 and 0 for those kept."""
    half = (found.high - found.low) / 2
    size = root(np.maximum(half / (half.max() or 1.0), SMALLEST), power)
    middle = (found.low + found.high) / 2
    return (size, middle) if kept is None else (np.where(kept, 1, size), np.where(kept, 0, middle))


def root(x: np.ndarray, power: int) -> np.ndarray:
    """x to the power of power / 64, by square roots: unlike powers they are the same everywhere."""
    found = np.ones_like(x)
    for bit in range(6):  # the 32, which is a square root, to the 1
        x = np.sqrt(x)
        if power & (32 >> bit):
            found = found * x
    return found


def fold_norm(norm, layer, size: np.ndarray, middle: np.ndarray) -> None:
    """size, middle: of the norm's output; layer: the one behind it."""
    factor, shift = torch.tensor(size), torch.tensor(middle)
    add_bias(layer, ordered_sum(layer.weight.double() * shift))
    layer.weight *= factor
    add_bias(norm, -shift)
    norm.weight /= factor
    norm.bias /= factor


def fold_values(attn, size: np.ndarray, middle: np.ndarray) -> None:
    """size, middle: of the columns of v."""
    channels = len(size)
    v = slice(2 * channels, None)
    shift, factor = torch.tensor(middle), torch.tensor(size)
    add_bias(attn.proj, ordered_sum(attn.proj.weight.double() * shift))
    attn.proj.weight *= factor
    bias = torch.zeros(3 * channels, dtype=torch.float64)
    bias[v] = -shift
    add_bias(attn.qkv, bias)
    attn.qkv.weight[v] /= factor[:, None]
    attn.qkv.bias[v] /= factor


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
