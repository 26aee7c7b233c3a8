"""What follows attention: proj, norm2, fc1 with GELU, fc2, and the next block's norm1."""

from __future__ import annotations

from ...machine.isa import Epilogue
from ..patterns import Rows
from ..tiling import cut, k_groups, weight_bytes
from .constants import ProjWeights
from .schedule import Schedule, epilogue


def rest(s: Schedule, i: int) -> None:
    """Block i from proj on, some tokens at a time: the LayerNorm that follows fc2 row by row is the
    next block's, or the last one, which needs the class token only."""
    plan, places, block, after = s.plan, s.places, s.steps.blocks[i], s.block_after(i)
    for first, last in cut(s.shape.tokens, plan.outer):
        stream = places.stream.at(first if plan.stream_resident else 0)
        context = places.context.at(first)
        if not plan.context_resident:
            context = places.fetched_context
            s.fetch_rows("context", first, last, context)
        if not plan.stream_resident:
            s.fetch_rows("stream", first, last, stream)
        proj(s, i, first, last, context, stream)
        normed = places.normed.at(first if plan.normed_resident else 0)
        s.norm_rows(block.norm2, first, last, stream, normed)
        if after:
            s.load_norm(after.norm1)
        elif first == 0:
            s.load_norm(s.steps.norm)
        s.load_gelu(block)
        for a, z in cut(last - first, plan.inner):
            mlp(s, i, first + a, first + z, normed.at(a), stream.at(a))
            if after:
                s.norm1_rows(after, first + a, first + z, stream.at(a), normed.at(a))
            elif first + a == 0:
                s.norm_rows(s.steps.norm, 0, 1, stream, places.final)
        if after and not plan.stream_resident:
            s.spill_rows("stream", first, last, stream)
    if after:
        s.load_norm(after.norm2)


def proj(s: Schedule, i: int, first: int, last: int, context: Rows, stream: Rows) -> None:
    """Tokens first..last; `context`, `stream`: where `first` lies."""
    C, w, hw, block = s.shape.channels, s.words, s.hw, s.steps.blocks[i]
    groups, k_tiles = k_groups(w.context, hw)
    constant = ProjWeights(
        block.proj, block.residual1, groups * k_tiles, weight_bytes(C, w.context, hw),
        s.shape.heads, w.head * hw.rows,
    )  # fmt: skip
    s.emitter.gemm(
        block.proj.name, epilogue(block.residual1, (first, last), (0, C)), Epilogue.RESIDUAL,
        last - first, context, stream, C, s.weights(constant, w.context),
        **s.scalars.residual(block.proj, block.residual1),
    )  # fmt: skip


def mlp(s: Schedule, i: int, first: int, last: int, normed: Rows, stream: Rows) -> None:
    """Tokens first..last; `normed`, `stream`: where `first` lies."""
    shape, w, block, rows = s.shape, s.words, s.steps.blocks[i], last - first
    R, hidden = s.hw.rows, s.places.hidden
    weights = s.linear(block.fc1, shape.hidden, w.normed)
    for begin, end in s.column_blocks(shape.hidden):
        word = begin // R
        words = (end // R if end < shape.hidden else w.hidden) - word
        s.emitter.gemm(
            block.fc1.name, epilogue(block.gelu, (first, last), (begin, end)), Epilogue.GELU, rows,
            normed, hidden.part(word, words), end - begin, weights.at(begin, s.hw),
            **s.scalars.gelu(block.gelu),
        )  # fmt: skip
    after = s.block_after(i)
    if after and last == shape.tokens:
        s.load_gelu(after)
    s.emitter.gemm(
        block.fc2.name, epilogue(block.residual2, (first, last), (0, shape.channels)),
        Epilogue.RESIDUAL, rows, hidden, stream, shape.channels,
        s.linear(block.fc2, shape.channels, w.hidden, block.residual2),
        **s.scalars.residual(block.fc2, block.residual2),
    )  # fmt: skip
