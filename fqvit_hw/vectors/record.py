"""Records golden vectors of an integer network on real images.

For every unit: cases cut from the network's first and last block on the first image, and corner
cases. For the unit "network": whole images, every tensor between pixels and logits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..formats import CODE, INT32, RECIPROCAL, UINT8, IntFormat
from ..model import QuantizedModel
from ..network import Block, SwinBlock, SwinTransformer, VisionTransformer
from ..units import Linear, windows
from .cases import (
    Case,
    Tensor,
    attention_case,
    bitshift_case,
    gelu_case,
    layernorm_case,
    matmul_case,
    requantize_case,
    residual_case,
    softmax_case,
)
from .corners import CORNERS

WHOLE_IMAGES = 2

Network = VisionTransformer | SwinTransformer


def golden_cases(qm: QuantizedModel, images: np.ndarray) -> list[Case]:
    """images: uint8 (B, C, H, W), B >= 1. Cases in manifest order: by unit, network first."""
    traces = [qm.trace(image) for image in images]
    cases = list(layer_cases(qm.network, traces[0]))
    for corners in CORNERS.values():
        cases += corners()
    units = list(CORNERS)
    cases.sort(key=lambda case: units.index(case.unit))  # stable: keeps the order within a unit
    for n, (image, trace) in enumerate(zip(images, traces, strict=True)):
        cases.append(image_case(f"image{n}", qm.network, image, trace))
    return cases


def image_case(name: str, net: Network, image: np.ndarray, trace: dict[str, np.ndarray]) -> Case:
    """A whole image: pixels in, every tensor of the trace out, logits last."""
    tensors = {"pixels": Tensor("input", image, UINT8)}
    codes = {
        f"{block_name}.attn.softmax": CODE if block.attention.softmax.mode == "lis4" else UINT8
        for block_name, block, _ in blocks_of(net)
    }
    for step, data in trace.items():
        tensors[step] = Tensor("output", data, codes.get(step) or trace_format(step, data))
    return Case("network", name, tensors)


def blocks_of(net: Network) -> Iterator[tuple[str, Block, SwinBlock | None]]:
    """(name, block, its windows or None) of every block, in order."""
    if isinstance(net, SwinTransformer):
        for i, stage in enumerate(net.stages):
            for j, block in enumerate(stage):
                yield f"layers.{i}.blocks.{j}", block.block, block
    else:
        for n, block in enumerate(net.blocks):
            yield f"blocks.{n}", block, None


def trace_format(step: str, data: np.ndarray) -> IntFormat:
    """The number format of a traced tensor, attention codes apart."""
    if step.endswith("attn.row_reciprocal"):
        return RECIPROCAL
    return INT32 if data.dtype.itemsize > 2 else IntFormat(8 * data.dtype.itemsize)


def layer_cases(net: Network, trace: dict[str, np.ndarray]) -> Iterator[Case]:
    """Every unit with parameters and inputs of the real network on a real image.

    Of the blocks the first and the last; of a Swin's block that one window which the shift's mask
    concerns most, the last.
    """
    yield matmul_case("patch_embed", net.patch_embed, trace["image"])
    swin = isinstance(net, SwinTransformer)
    conv = "patch_embed.conv" if swin else "patch_embed"
    yield requantize_case("patch_embed", net.patch_embed_requantize, trace[f"{conv}.acc"])
    if swin:
        stream, grid = trace["patch_embed.norm"], net.grid
        yield layernorm_case("patch_embed_norm", net.patch_embed_norm, trace[conv])
    else:
        branch = np.concatenate([net.cls_token[None], trace["patch_embed"]])
        stream, grid = trace["embed"], None
        yield residual_case("embed", net.embed, net.pos_embed, branch)
    blocks = list(blocks_of(net))
    for n, (name, block, window) in enumerate(blocks):
        if name.endswith("blocks.0") and n:  # of a Swin's later stage
            merge = name.replace("blocks.0", "downsample")
            p = net.merges[int(name.split(".")[1]) - 1]
            four = windows.take(stream[None], windows.merging(*grid), p.norm.zero)[0]
            yield layernorm_case(f"{merge}.norm", p.norm, four.reshape(len(four), -1))
            acc = trace[f"{merge}.reduction.acc"]
            yield requantize_case(f"{merge}.reduction", p.reduction_requantize, acc)
            stream = trace[f"{merge}.reduction"]
            grid = tuple((side + 1) // 2 for side in grid)
        if n in (0, len(blocks) - 1):
            steps = {
                step.removeprefix(f"{name}."): data
                for step, data in trace.items()
                if step.startswith(f"{name}.")
            }
            inside = LastWindow(window, grid, steps) if window else None
            yield from block_cases(f"block{n}", block, stream, steps, inside)
        stream = trace[f"{name}.residual2"]
    yield layernorm_case("norm", net.norm, stream if swin else stream[:1])
    yield matmul_case("head", net.head, trace["pool" if swin else "norm"][None])
    yield requantize_case("head", net.head_requantize, trace["head.acc"][None])


class LastWindow:
    """The last window of a Swin block: what enters and leaves it, as a block without windows."""

    def __init__(self, p: SwinBlock, grid: tuple[int, int], steps: dict[str, np.ndarray]):
        where = (*grid, (p.height, p.width), (p.shift_y, p.shift_x))
        mask, there = windows.shift_mask(*where), windows.partition(*where)
        self.bias, self.mask = p.bias, None if mask is None else mask[-1]
        zero = p.block.norm1.zero_out
        self.tokens = windows.take(steps["norm1"][None], there[-1], zero)[0]
        proj = steps["proj"].reshape(there.size, -1)  # (W, n, C) -> (W * n, C)
        self.proj = proj[windows.reverse(*where)]  # in the order of the stream
        self.steps = {
            name: data[-1] if name.startswith(("qkv", "attn", "proj")) else data
            for name, data in steps.items()
        }


def block_cases(
    name: str,
    block: Block,
    stream: np.ndarray,
    steps: dict[str, np.ndarray],
    inside: LastWindow | None = None,
) -> Iterator[Case]:
    """stream: the block's input (N, C); steps: its traced tensors, without the block's prefix."""
    yield layernorm_case(f"{name}_norm1", block.norm1, stream)
    tokens, branch, bias, mask = steps["norm1"], steps["proj"], None, None
    if inside:
        tokens, branch, steps = inside.tokens, inside.proj, inside.steps
        bias, mask = inside.bias, inside.mask
    yield matmul_case(f"{name}_qkv", block.qkv, tokens)
    yield requantize_case(f"{name}_qkv", block.qkv_requantize, steps["qkv.acc"])
    # (N, 3 * H * D) -> (N, 3, H, D) -> (3, H, N, D)
    q, k, v = steps["qkv"].reshape(len(tokens), 3, block.heads, -1).transpose(1, 2, 0, 3)
    no_bias = np.zeros(len(tokens), np.int32)
    for head in sorted({0, block.heads - 1}):
        at = f"{name}_head{head}"
        yield matmul_case(f"{at}_qk", Linear(k[head], no_bias), q[head])
        if block.attention.softmax.mode == "lis4":
            yield bitshift_case(f"{at}_av", steps["attn.softmax"][head], v[head])
        of_head = None if bias is None else bias[head]
        yield attention_case(at, block.attention, q[head], k[head], v[head], of_head, mask)
    scores = steps["attn.score"]  # (H, N, N) -> (H * N, N): a row per query
    rows = scores.reshape(-1, scores.shape[-1])
    row_mask = None if mask is None else np.tile(mask, (block.heads, 1))
    yield requantize_case(f"{name}_score", block.attention.score, steps["attn.score.acc"][0])
    yield softmax_case(f"{name}_softmax", block.attention.softmax, rows, row_mask)
    yield requantize_case(f"{name}_proj", block.proj_requantize, steps["proj.acc"])
    yield residual_case(f"{name}_residual1", block.residual1, stream, branch)
    yield layernorm_case(f"{name}_norm2", block.norm2, steps["residual1"])
    yield requantize_case(f"{name}_fc1", block.fc1_requantize, steps["fc1.acc"])
    yield gelu_case(f"{name}_gelu", block.gelu, steps["fc1"])
    yield matmul_case(f"{name}_fc2", block.fc2, steps["gelu"])
    yield requantize_case(f"{name}_fc2", block.fc2_requantize, steps["fc2.acc"])
    yield residual_case(f"{name}_residual2", block.residual2, steps["residual1"], steps["fc2"])
