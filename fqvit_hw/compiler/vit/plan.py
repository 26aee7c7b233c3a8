"""What stays on chip: the placement of a ViT's tensors, chosen by the bytes it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from ...errors import UserError
from ...machine.hardware import HARDWARE, Hardware
from ..tiling import ceil, cut, k_groups, least_ring, scratch_words, weight_bytes
from .shape import RowWords, Shape

MAX_BLOCKS = 256  # of tokens


@dataclass(frozen=True)
class Plan:
    """Which tensors stay on chip for all tokens, and how many tokens each phase takes at once.

    outer: tokens of proj .. fc2; inner: of fc1, fc2 inside; attention: of k, v (and q);
    queries: of q, scores, codes, context; strips: rows of
    patches of the patch embedding. acts: normed | second, in words; spilled: bytes moved.
    """

    stream_resident: bool
    normed_resident: bool
    context_resident: bool
    outer: int
    inner: int
    attention: int
    queries: int
    strips: int
    normed_words: int
    spilled: int


class Kept(NamedTuple):
    """Which tensors stay on chip for all tokens."""

    stream: bool
    normed: bool
    context: bool


EVERY_KEPT = [Kept(*kept) for kept in product((True, False), repeat=3)]


def refused(shape: Shape, hw: Hardware) -> str | None:
    """Which of the machine's sizes this network exceeds, or None."""
    words = RowWords.of(shape, hw)
    slack = words.normed + scratch_words(hw)
    strip = min(shape.strip + 1, shape.tokens)
    checks = (
        (f"{shape.tokens} tokens", "max_tokens", shape.tokens),
        (f"{shape.channels} channels", "max_channels", shape.channels),
        ("weights and the keys and values of a head", "tiles",
         hw.ring + words.key_tiles + words.value_tiles),
        ("a Linear's sum over K", "ring", least_ring(max(words.depths))),
        ("the codes of a token", "codes", words.codes),
        ("a row of patches in the stream", "stream", strip * words.stream),
        ("the MLP of a token", "acts", words.hidden + words.normed + slack),
        ("a row of patches", "acts", shape.strip * (words.patch + words.normed) + slack),
        ("partial sums of a token's K groups", "sums",
         shape.tokens if too_deep(words, hw) else 1),
    )  # fmt: skip
    for what, name, need in checks:
        if need > getattr(hw, name):
            return (
                f"{what}: {hw.name} has {name}={getattr(hw, name)}, this network needs {need} "
                "(fqvit_hw.machine.hardware.Hardware)"
            )
    if best_plan(shape, hw) is None:
        return f"{shape.tokens} tokens of {shape.channels} channels: no tiling fits acts={hw.acts}"
    return None


def too_deep(words: RowWords, hw: Hardware) -> bool:
    """Is K of a Linear in groups, whose partial sums wait for each other?"""
    return any(k_groups(depth, hw)[0] > 1 for depth in words.depths)


def plan(shape: Shape, hw: Hardware) -> Plan:
    """The plan of fewest bytes. Raises ValueError naming the first thing that does not fit."""
    why = refused(shape, hw)
    if why:
        others = (other for other in HARDWARE.values() if other.name != hw.name)
        fits = [other.name for other in others if not refused(shape, other)]
        would = f"it fits {', '.join(fits)}" if fits else "no named configuration holds it"
        raise UserError(f"compile: {why}; {would}")
    best = best_plan(shape, hw)
    assert best is not None
    return best


def best_plan(shape: Shape, hw: Hardware) -> Plan | None:
    """The plan of fewest bytes with as many queries at once as any plan has."""
    most = hw.codes // RowWords.of(shape, hw).codes
    for queries in block_sizes(shape.tokens, shape.tokens):
        found = cheapest(shape, hw, queries) if queries <= most else None
        if found:
            return found
    return None


def block_sizes(tokens: int, most: int) -> list[int]:
    """Sizes of blocks that cut all tokens into 1, 2, ... `most` parts, largest first."""
    return sorted({ceil(tokens, parts) for parts in range(1, most + 1)}, reverse=True)


def cheapest(shape: Shape, hw: Hardware, queries: int) -> Plan | None:
    """The plan of fewest bytes, of these the one of fewest blocks."""
    words, traffic = RowWords.of(shape, hw), Traffic.of(shape, hw)
    best = None
    for kept in EVERY_KEPT:
        for outer in block_sizes(shape.tokens, min(shape.tokens, MAX_BLOCKS)):
            found = largest_blocks(shape, words, hw, kept, outer, queries)
            if found is None:
                continue
            found = replace(found, spilled=traffic.spilled(found, shape))
            cost = found.spilled, outer_blocks(found, shape) + inner_blocks(found, shape)
            if best is None or cost < best[0]:
                best = cost, found
    return best and best[1]


def largest_blocks(
    shape: Shape, words: RowWords, hw: Hardware, kept: Kept, outer: int, queries: int
) -> Plan | None:
    """The largest blocks of every other phase that fit beside what is kept, or None.

    acts: normed | second, and above both the final LayerNorm and a LOAD's scratch. In `second` lie
    context and q, or context and hidden, or context and patches.
    """
    N = shape.tokens
    if (N if kept.stream else outer) * words.stream > hw.stream:
        return None
    normed = (N if kept.normed else outer) * words.normed
    acts = hw.acts - words.normed - scratch_words(hw)
    second = acts - normed

    # attention: all tokens' context beside q, and as much of normed as it needs
    held = (N * words.context if kept.context else queries * words.head) + queries * words.head
    attention = N if kept.normed else min(N, (acts - held) // words.normed)
    if kept.context and not kept.normed:  # the context stays where it is: one border for all
        attention = min(attention, outer)
    if attention < (1 if queries == N else queries):
        return None
    if (kept.normed or kept.context) and held > second:
        return None

    # proj .. fc2
    if not kept.context and outer * words.context > second:
        return None
    waiting = N * words.context if kept.context and outer < N else 0  # context of later blocks
    inner = min(outer, (second - waiting) // words.hidden)
    if inner < 1:
        return None

    # patches: what is not kept leaves one row to the class token
    rows = min(second // words.patch, N * outer if kept.normed else outer)
    if not kept.normed:
        rows = min(rows, normed // words.normed - 1)
    if not kept.stream:
        rows = min(rows, hw.stream // words.stream - 1)
    strips = min(shape.strips, rows // shape.strip)
    if strips < 1:
        return None
    return Plan(*kept, outer, inner, attention, queries, strips, normed, 0)


def outer_blocks(plan: Plan, shape: Shape) -> int:
    """Blocks of tokens of proj .. fc2."""
    return len(cut(shape.tokens, plan.outer))


def inner_blocks(plan: Plan, shape: Shape) -> int:
    """Blocks of tokens of the MLP, in all outer ones."""
    return sum(len(cut(b - a, plan.inner)) for a, b in cut(shape.tokens, plan.outer))


@dataclass(frozen=True)
class Traffic:
    """Bytes of what may be moved more than once: the weights of a block's Linears and of the patch
    embedding, all tokens of each tensor."""

    qkv: int
    proj: int
    mlp: int
    embed: int
    normed: int
    context: int
    stream: int

    @classmethod
    def of(cls, shape: Shape, hw: Hardware) -> Traffic:
        words, N = RowWords.of(shape, hw), shape.tokens
        fc1 = weight_bytes(shape.hidden, words.normed, hw)
        fc2 = weight_bytes(shape.channels, words.hidden, hw)
        return cls(
            qkv=3 * shape.heads * weight_bytes(shape.head_dim, words.normed, hw),
            proj=weight_bytes(shape.channels, words.context, hw),
            mlp=fc1 + fc2,
            embed=weight_bytes(shape.channels, words.patch, hw),
            normed=N * words.normed * hw.rows,
            context=N * words.context * hw.rows,
            stream=N * words.stream * hw.stream_bytes,
        )

    def spilled(self, plan: Plan, shape: Shape) -> int:
        """Bytes moved beyond one pass over weights, image and logits."""
        N = shape.tokens
        query_blocks = len(cut(N, plan.queries))
        block = (outer_blocks(plan, shape) - 1) * self.proj
        block += (inner_blocks(plan, shape) - 1) * self.mlp
        block += (len(cut(N, plan.attention)) - 1) * self.qkv
        block += (query_blocks - 1) * self.qkv // 3
        if not plan.stream_resident:
            block += 2 * self.stream
        if not plan.context_resident:
            block += 2 * self.context
        if not plan.normed_resident:  # stored once, fetched once or for every head
            per_head = 1 if query_blocks == 1 else 2
            fetches = 1 if plan.attention == N else shape.heads * per_head
            block += (1 + fetches) * self.normed
        return shape.depth * block + (len(cut(shape.strips, plan.strips)) - 1) * self.embed
