"""Attention: head by head, keys and values into tiles, then q, scores, codes and context."""

from __future__ import annotations

from dataclasses import replace

from ...machine.isa import Epilogue, Unit
from ...network.steps import BlockSteps
from ..made import Made
from ..patterns import ResidentTiles, Rows
from ..tiling import ceil, cut, k_groups, weight_bytes
from .constants import QKV_PARTS, HeadWeights
from .schedule import Schedule


def attention(s: Schedule, i: int) -> None:
    """Block i. For each head keys and values of all tokens, then block by block of queries all
    else. The queries of one block that takes all go with the keys."""
    N, plan, block = s.shape.tokens, s.plan, s.steps.blocks[i]
    whole = plan.queries == N
    s.load_softmax(block)
    for h in range(s.shape.heads):
        for first, last in cut(N, plan.attention):
            source = normed_rows(s, first, last, h == 0 or plan.attention < N)
            for part in "kvq" if whole else "kv":
                project(s, block, h, part, first, last, source)
        for first, last in cut(N, plan.queries):
            if not whole:
                source = normed_rows(s, first, last, plan.attention < N)
                project(s, block, h, "q", first, last, source)
            scores(s, block, h, first, last)
            after = s.block_after(i)
            if h == s.shape.heads - 1 and last == N and after:
                s.load_softmax(after)
            context(s, block, h, first, last)


def normed_rows(s: Schedule, first: int, last: int, fetch: bool) -> Rows:
    """Where norm1 of tokens first..last lies; if it is spilled, fetched first."""
    normed = s.places.normed
    if s.plan.normed_resident or not fetch:
        return normed.at(first)
    s.fetch_rows("normed", first, last, normed)
    return normed


def project(
    s: Schedule, block: BlockSteps, h: int, part: str, first: int, last: int, source: Rows
) -> None:
    """One head's q, k or v of tokens first..last."""
    shape, w, hw = s.shape, s.words, s.hw
    D, padded = shape.head_dim, w.key_stride * hw.rows  # q and k fill whole words: K of the scores
    q = s.places.q.at(first if s.plan.queries == shape.tokens else 0)
    epilogue, columns, to = {
        "q": (Epilogue.CODES8, padded, replace(q, words=w.key_stride)),
        "k": (Epilogue.KEYS, padded, s.places.keys.at(first)),
        "v": (Epilogue.VALUES, D, s.places.values.at(first)),
    }[part]
    start = (QKV_PARTS.index(part) * shape.heads + h) * D
    groups, k_tiles = k_groups(w.normed, hw)
    constant = HeadWeights(
        block.qkv, h, part, start, D, columns, groups * k_tiles,
        weight_bytes(columns, w.normed, hw),
    )  # fmt: skip
    made = Made(block.qkv.name, (), (first, last), (start, start + D), columns - D)
    s.emitter.gemm(
        f"{block.qkv.name} head {h} {part}", {Unit.EPILOGUE: made}, epilogue, last - first, source,
        to, columns, s.weights(constant, w.normed),
    )  # fmt: skip


def scores(s: Schedule, block: BlockSteps, h: int, first: int, last: int) -> None:
    """q times all keys of head h, tokens first..last, and their codes."""
    N, w, places = s.shape.tokens, s.words, s.places
    made = {
        Unit.EPILOGUE: Made(block.score.name, (h,), (first, last), (0, N)),
        Unit.CODES: Made(block.softmax.name, (h,), (first, last), (0, N)),
    }
    keys = ResidentTiles(places.keys.base, ceil(N, s.hw.cols), w.key_stride, w.key_stride, 1)
    s.emitter.gemm(
        f"{block.attention} head {h} scores", made, Epilogue.SCORES, last - first,
        replace(places.q, words=w.key_stride), places.codes, N, keys,
        scalar=1, **s.scalars.attention(block.score, block.softmax),
    )  # fmt: skip


def context(s: Schedule, block: BlockSteps, h: int, first: int, last: int) -> None:
    """Codes times values of head h, tokens first..last; to memory if it is not kept."""
    w, plan, places = s.words, s.plan, s.places
    rows, to = last - first, places.context
    if plan.context_resident:
        to = to.at(first).part(h * w.head, w.head)
    made = Made(block.context.name, (h,), (first, last), (0, s.shape.head_dim))
    values = ResidentTiles(places.values.base, w.value_stride, 1, w.codes, w.value_stride)
    s.emitter.gemm(
        f"{block.attention} head {h} context", {Unit.EPILOGUE: made}, Epilogue.CODES8, rows,
        places.codes, to, s.shape.head_dim, values,
        codes=1, scalar=1, **s.scalars.attention(block.context, block.softmax),
    )  # fmt: skip
    if not plan.context_resident:
        lines = places.head_lines(h, first)
        s.emitter.store_rows("context to memory", rows, to, lines)
