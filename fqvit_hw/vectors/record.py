"""Records golden vectors of an integer network on real images.

For every unit: cases cut from the network's first and last block on the first image, and corner
cases. For the unit "network": whole images, every tensor between pixels and logits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..attention_codes import LIS4
from ..formats import INT32, RECIPROCAL, ROW_SHIFT, UINT8, IntFormat
from ..model import QuantizedModel
from ..network import Block, PatchMerging, SwinBlock, SwinTransformer, VisionTransformer
from ..network.step import Operation
from ..network.steps import BlockSteps, MergeSteps
from ..units import Linear, values, windows
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
    for tensor, data in trace.items():
        tensors[tensor] = Tensor("output", data, trace_format(net, tensor, data))
    return Case("network", name, tensors)


def trace_format(net: Network, tensor: str, data: np.ndarray) -> IntFormat:
    """The number format of a traced tensor."""
    step = net.steps.by_tensor[tensor]
    if step.operation is Operation.SOFTMAX:
        return step.parameters(net).codes.format
    if tensor == step.row_reciprocal:
        return RECIPROCAL
    if tensor == step.row_shift:
        return ROW_SHIFT
    return INT32 if data.dtype.itemsize > 2 else IntFormat(8 * data.dtype.itemsize)


def layer_cases(net: Network, trace: dict[str, np.ndarray]) -> Iterator[Case]:
    """Every unit with parameters and inputs of the real network on a real image.

    Of the blocks the first and the last; of a Swin's block that one window which the shift's mask
    concerns most, the last.
    """
    if isinstance(net, SwinTransformer):
        yield from swin_cases(net, trace)
    else:
        yield from vit_cases(net, trace)
    steps = net.steps
    yield matmul_case("head", net.head, trace[steps.head.source][None])
    yield requantize_case("head", net.head_requantize, trace[steps.head.acc][None])


def embedding_cases(net: Network, trace: dict[str, np.ndarray]) -> Iterator[Case]:
    """The patch embedding of both families."""
    steps = net.steps
    yield matmul_case("patch_embed", net.patch_embed, trace[steps.image.name])
    acc = trace[steps.patch_embed.acc]
    yield requantize_case("patch_embed", net.patch_embed_requantize, acc)


def vit_cases(net: VisionTransformer, trace: dict[str, np.ndarray]) -> Iterator[Case]:
    steps = net.steps
    yield from embedding_cases(net, trace)
    branch = np.concatenate([net.cls_token[None], trace[steps.patch_embed.name]])
    yield residual_case("embed", net.embed, net.pos_embed, branch)
    for n in sorted({0, len(net.blocks) - 1}):
        yield from block_cases(f"block{n}", net.blocks[n], steps.blocks[n], trace)
    yield layernorm_case("norm", net.norm, trace[steps.norm.source][:1])  # the class token


def swin_cases(net: SwinTransformer, trace: dict[str, np.ndarray]) -> Iterator[Case]:
    steps, grid = net.steps, net.grid
    yield from embedding_cases(net, trace)
    conv = trace[steps.patch_embed.name]
    yield layernorm_case("patch_embed_norm", net.patch_embed_norm, conv)
    n, last = 0, len(steps.blocks) - 1
    for i, stage in enumerate(steps.stages):
        if stage.merge:
            yield from merge_cases(net.merges[i - 1], stage.merge, trace, grid)
            grid = (grid[0] + 1) // 2, (grid[1] + 1) // 2
        for window, at in zip(net.stages[i], stage.blocks, strict=True):
            if n in (0, last):
                inside = LastWindow(window, grid, at, trace)
                yield from block_cases(f"block{n}", window.block, at, trace, inside)
            n += 1
    yield layernorm_case("norm", net.norm, trace[steps.norm.source])


def merge_cases(
    p: PatchMerging, steps: MergeSteps, trace: dict[str, np.ndarray], grid: tuple[int, int]
) -> Iterator[Case]:
    """grid: height and width in tokens before the merging."""
    stream = trace[steps.norm.source]
    four = windows.take(stream[None], windows.merging(*grid), p.norm.zero)[0]
    yield layernorm_case(steps.norm.name, p.norm, four.reshape(len(four), -1))
    acc = trace[steps.reduction.acc]
    yield requantize_case(steps.reduction.name, p.reduction_requantize, acc)


class LastWindow:
    """The last window of a Swin block: what enters and leaves it, as a block without windows."""

    def __init__(
        self,
        p: SwinBlock,
        grid: tuple[int, int],
        steps: BlockSteps,
        trace: dict[str, np.ndarray],
    ):
        where = (*grid, (p.height, p.width), (p.shift_y, p.shift_x))
        mask, there = windows.shift_mask(*where), windows.partition(*where)
        self.bias, self.mask = p.bias, None if mask is None else mask[-1]
        zero = p.block.norm1.zero_out
        self.tokens = windows.take(trace[steps.norm1.name][None], there[-1], zero)[0]
        proj = trace[steps.proj.name].reshape(there.size, -1)  # (W, n, C) -> (W * n, C)
        self.proj = proj[windows.reverse(*where)]  # in the order of the stream
        windowed = (steps.qkv, steps.score, steps.softmax, steps.context, steps.proj)
        names = {name for step in windowed for name in step.tensors()}
        self.trace = {name: data[-1] if name in names else data for name, data in trace.items()}


def block_cases(
    name: str,
    block: Block,
    steps: BlockSteps,
    trace: dict[str, np.ndarray],
    inside: LastWindow | None = None,
) -> Iterator[Case]:
    """trace: of the whole network, without a batch axis."""
    stream, residual1 = trace[steps.norm1.source], trace[steps.residual1.name]
    yield layernorm_case(f"{name}_norm1", block.norm1, stream)
    tokens, branch, bias, mask = trace[steps.norm1.name], trace[steps.proj.name], None, None
    if inside:
        tokens, branch, trace = inside.tokens, inside.proj, inside.trace
        bias, mask = inside.bias, inside.mask
    yield matmul_case(f"{name}_qkv", block.qkv, tokens)
    yield requantize_case(f"{name}_qkv", block.qkv_requantize, trace[steps.qkv.acc])
    # (N, 3 * H * D) -> (N, 3, H, D) -> (3, H, N, D)
    columns = trace[steps.qkv.name].reshape(len(tokens), 3, block.heads, -1)
    q, k, v = columns.transpose(1, 2, 0, 3)
    no_bias = np.zeros(len(tokens), np.int32)
    for head in sorted({0, block.heads - 1}):
        at = f"{name}_head{head}"
        yield matmul_case(f"{at}_qk", Linear(k[head], no_bias), q[head])
        codes, mode = trace[steps.softmax.name][head], block.attention.softmax.codes
        if mode is LIS4:
            yield bitshift_case(f"{at}_av", codes, v[head])
        else:
            of_v = Linear(np.ascontiguousarray(v[head].T), np.zeros(v.shape[-1], np.int32))
            yield matmul_case(f"{at}_av", of_v, values(codes, mode))
        of_head = None if bias is None else bias[head]
        yield attention_case(at, block.attention, q[head], k[head], v[head], of_head, mask)
    scores = trace[steps.score.name]  # (H, N, N) -> (H * N, N): a row per query
    rows = scores.reshape(-1, scores.shape[-1])
    row_mask = None if mask is None else np.tile(mask, (block.heads, 1))
    acc = trace[steps.score.acc][0]
    yield requantize_case(f"{name}_score", block.attention.score, acc)
    yield softmax_case(f"{name}_softmax", block.attention.softmax, rows, row_mask)
    yield requantize_case(f"{name}_proj", block.proj_requantize, trace[steps.proj.acc])
    yield residual_case(f"{name}_residual1", block.residual1, stream, branch)
    yield layernorm_case(f"{name}_norm2", block.norm2, residual1)
    yield requantize_case(f"{name}_fc1", block.fc1_requantize, trace[steps.fc1.acc])
    yield gelu_case(f"{name}_gelu", block.gelu, trace[steps.fc1.name])
    yield matmul_case(f"{name}_fc2", block.fc2, trace[steps.gelu.name])
    yield requantize_case(f"{name}_fc2", block.fc2_requantize, trace[steps.fc2.acc])
    yield residual_case(f"{name}_residual2", block.residual2, residual1, trace[steps.fc2.name])
