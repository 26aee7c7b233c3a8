"""All steps of a network in the order in which data flows: the one place where it is written down.

For a ViT (`vit_steps`) and for a Swin (`swin_steps`). Both need nothing but the number of blocks,
so that a float model, an integer network and the compiler are served alike.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, fields, is_dataclass

from .step import Operation, Role, Step, attention_of


def flat(value) -> Iterator[Step]:
    """Every step below a value: the fields of the classes below stand in the order of the data."""
    if isinstance(value, Step):
        yield value
    elif isinstance(value, tuple):
        yield from itertools.chain.from_iterable(map(flat, value))
    elif is_dataclass(value):
        yield from flat(tuple(getattr(value, field.name) for field in fields(value)))


@dataclass(frozen=True)
class BlockSteps:
    """Of one transformer block; a step has the name of the block's field that makes it.

    name: "blocks.3", or "layers.2.blocks.1" in a Swin, which is also that of timm's module;
    label: "3", "2.1"
    """

    name: str
    label: str
    norm1: Step
    qkv: Step
    score: Step
    softmax: Step
    context: Step
    proj: Step
    residual1: Step
    norm2: Step
    fc1: Step
    gelu: Step
    fc2: Step
    residual2: Step

    @property
    def attention(self) -> str:
        """What the names of all tensors of the attention begin with."""
        return attention_of(self.name)

    def __iter__(self) -> Iterator[Step]:
        return flat(self)


@dataclass(frozen=True)
class MergeSteps:
    """Of patch merging; name: "layers.2.downsample", also that of timm's module."""

    name: str
    norm: Step
    reduction: Step


@dataclass(frozen=True)
class StageSteps:
    """Of one stage of a Swin; merge: the patch merging before it, None in the first stage."""

    merge: MergeSteps | None
    blocks: tuple[BlockSteps, ...]

    @property
    def output(self) -> Step:
        """The residual stream after the stage."""
        return self.blocks[-1].residual2


class Steps:
    """What the steps of both families can do: be iterated, and be found by the name of a tensor."""

    def __iter__(self) -> Iterator[Step]:
        return flat(self)

    @functools.cached_property
    def by_tensor(self) -> dict[str, Step]:
        """The step of every tensor that can be traced, by the tensor's name, in order."""
        return {tensor: step for step in self for tensor in step.tensors()}


@dataclass(frozen=True)
class VitSteps(Steps):
    """Of a ViT or DeiT."""

    image: Step
    patch_embed: Step
    embed: Step
    blocks: tuple[BlockSteps, ...]
    norm: Step
    head: Step


@dataclass(frozen=True)
class SwinSteps(Steps):
    """Of a Swin Transformer."""

    image: Step
    patch_embed: Step
    patch_embed_norm: Step
    stages: tuple[StageSteps, ...]
    norm: Step
    pool: Step
    head: Step

    @property
    def blocks(self) -> tuple[BlockSteps, ...]:
        """The blocks of all stages."""
        return tuple(block for stage in self.stages for block in stage.blocks)


@dataclass(frozen=True)
class Scope:
    """A block, a patch merging or the whole network: what its steps' names begin with."""

    name: str = ""
    label: str = ""
    path: tuple[str | int, ...] = ()
    block: str | None = None

    def step(self, part: str, operation: Operation, role: Role, *reads: Step, field=()) -> Step:
        """part: the last words of its name; field: where its parameters are, `part` if not said."""
        name, label = (f"{at}.{part}" if at else part for at in (self.name, self.label))
        path = (*self.path, *(field or (part,)))
        return Step(name, label, operation, role, tuple(s.name for s in reads), path, self.block)


NETWORK = Scope()
IMAGE = Step("image", "image", Operation.PATCHES, Role.IMAGE, (), (), None)


def block_steps(name: str, label: str, path: tuple[str | int, ...], stream: Step) -> BlockSteps:
    """Of the block that reads the residual stream `stream`; path: to the block's parameters."""
    step = Scope(name, label, path, block=name).step
    norm1 = step("norm1", Operation.LAYERNORM, Role.NORMED, stream)
    qkv = step("qkv", Operation.LINEAR, Role.QKV, norm1)
    # the attention's parameters are one field
    score, softmax, context = (("attention", part) for part in ("score", "softmax", "context"))
    scores = step("attn.score", Operation.SCORE, Role.SCORE, qkv, field=score)
    codes = step("attn.softmax", Operation.SOFTMAX, Role.PROBABILITY, scores, field=softmax)
    rows = step("attn.context", Operation.CONTEXT, Role.CONTEXT, codes, qkv, field=context)
    proj = step("proj", Operation.LINEAR, Role.BRANCH, rows)
    residual1 = step("residual1", Operation.RESIDUAL, Role.STREAM, stream, proj)
    norm2 = step("norm2", Operation.LAYERNORM, Role.NORMED, residual1)
    fc1 = step("fc1", Operation.LINEAR, Role.PRE_ACTIVATION, norm2)
    gelu = step("gelu", Operation.GELU, Role.ACTIVATION, fc1)
    fc2 = step("fc2", Operation.LINEAR, Role.BRANCH, gelu)
    residual2 = step("residual2", Operation.RESIDUAL, Role.STREAM, residual1, fc2)
    return BlockSteps(
        name, label, norm1, qkv, scores, codes, rows, proj, residual1, norm2, fc1, gelu, fc2,
        residual2,
    )  # fmt: skip


def vit_block(i: int, stream: Step) -> BlockSteps:
    return block_steps(f"blocks.{i}", f"{i}", ("blocks", i), stream)


def swin_block(i: int, j: int, stream: Step) -> BlockSteps:
    return block_steps(f"layers.{i}.blocks.{j}", f"{i}.{j}", ("stages", i, j, "block"), stream)


def merge_steps(i: int, stream: Step) -> MergeSteps:
    """Of the patch merging before stage i."""
    name = f"layers.{i}.downsample"
    step = Scope(name, f"{i}.downsample", ("merges", i - 1)).step
    norm = step("norm", Operation.LAYERNORM, Role.NORMED, stream)
    return MergeSteps(name, norm, step("reduction", Operation.LINEAR, Role.STREAM, norm))


@functools.cache
def vit_steps(depth: int) -> VitSteps:
    """Of a ViT or DeiT with `depth` blocks."""
    step = NETWORK.step
    patch_embed = step("patch_embed", Operation.LINEAR, Role.BRANCH, IMAGE)
    # the positions, a parameter, are the stream that the patches are added to
    embed = stream = step("embed", Operation.RESIDUAL, Role.STREAM, patch_embed)
    blocks = []
    for i in range(depth):
        blocks.append(vit_block(i, stream))
        stream = blocks[-1].residual2
    norm = step("norm", Operation.LAYERNORM, Role.NORMED, stream)
    head = step("head", Operation.LINEAR, Role.LOGITS, norm)
    return VitSteps(IMAGE, patch_embed, embed, tuple(blocks), norm, head)


@functools.cache
def swin_steps(depths: tuple[int, ...]) -> SwinSteps:
    """Of a Swin Transformer whose stages have so many blocks."""
    step = NETWORK.step
    conv = step("patch_embed.conv", Operation.LINEAR, Role.STREAM, IMAGE, field=("patch_embed",))
    field = ("patch_embed_norm",)  # its int8 codes are the first stage's stream
    first = step("patch_embed.norm", Operation.LAYERNORM, Role.NORMED, conv, field=field)
    stages, stream = [], first
    for i, depth in enumerate(depths):
        merge = merge_steps(i, stream) if i else None
        stream = merge.reduction if merge else stream
        blocks = []
        for j in range(depth):
            blocks.append(swin_block(i, j, stream))
            stream = blocks[-1].residual2
        stages.append(StageSteps(merge, tuple(blocks)))
    norm = step("norm", Operation.LAYERNORM, Role.NORMED, stream)
    pool = step("pool", Operation.POOL, Role.POOLED, norm)
    head = step("head", Operation.LINEAR, Role.LOGITS, pool)
    return SwinSteps(IMAGE, conv, first, tuple(stages), norm, pool, head)


def steps_of_names(names: Container[str]) -> VitSteps | SwinSteps:
    """Of the network that a table of its residual stream or of more comes from: as many blocks as
    are named there.

    For results on disk, which say the names and not the depths. Raises ValueError if the names are
    of no network.
    """
    if vit_steps(0).embed.name in names:
        return vit_steps(named(names, lambda i: vit_block(i, IMAGE)))
    if swin_steps(()).patch_embed.name in names:
        stages = named(names, lambda i: swin_block(i, 0, IMAGE))
        return swin_steps(
            tuple(named(names, lambda j, i=i: swin_block(i, j, IMAGE)) for i in range(stages))
        )
    raise ValueError("the names are those of no network: neither a ViT's nor a Swin's embedding")


def named(names: Container[str], block: Callable[[int], BlockSteps]) -> int:
    """How many of block(0), block(1), ... come before the first that is not named."""
    return next(i for i in itertools.count() if block(i).residual1.name not in names)
