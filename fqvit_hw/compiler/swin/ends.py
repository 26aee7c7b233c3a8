"""What is not a block: patches to the stream, patch merging, the head."""

from __future__ import annotations

import numpy as np

from ...machine.isa import Epilogue
from ...network.swin import MERGED
from ..patterns import Lines, Place, Rows
from ..tiling import SCRATCH_WORDS, ceil, cut
from .patterns import Merged, plain
from .schedule import SwinSchedule


def patches(s: SwinSchedule) -> None:
    """Patch embedding, norm; the codes become the stream by way of memory."""
    stage, hw, emitter = s.stages[0], s.hw, s.emitter
    words = ceil(s.size.colors * s.size.patch**2, hw.rows)
    room = hw.acts - SCRATCH_WORDS - stage.normed
    most = min(stage.tokens, hw.stream // stage.stream, room // (words + stage.normed))
    width = ceil(words * hw.rows, hw.bus_bytes) * hw.bus_bytes
    pixels = plain(Place.ACTS, words)
    normed = plain(Place.ACTS, stage.normed, most * words)
    stream, C = s.whole(stage), stage.channels
    for first, last in cut(stage.tokens, most):
        rows, order = last - first, np.arange(first, last)
        image = Lines(s.memory_map.address("image"), width, width, order)
        emitter.load_rows("image", rows, pixels, image)
        s.linear(s.steps.patch_embed.name, Epilogue.RESIDUAL, rows, pixels, stream, C)
        s.norm(s.steps.patch_embed_norm.name, C, rows, stream, normed)
        row = stage.normed * hw.rows
        codes = Lines(s.memory_map.address(s.spill), row, row, order)
        emitter.store_rows("stream", rows, normed, codes)
    if s.plans[0].resident:
        s.load_stream(s.whole(stage), np.arange(stage.tokens), stage)


def merge(s: SwinSchedule, i: int) -> None:
    """Before stage i: four tokens become one, norm, reduction."""
    old, new, hw = s.stages[i - 1], s.stages[i], s.hw
    resident, after = s.plans[i - 1].resident, s.plans[i].resident
    steps = s.steps.stages[i].merge
    assert steps is not None
    channels, words = MERGED * old.channels, MERGED * old.normed
    four = merged_tokens(old.side, new.side)
    most = min(new.tokens, (hw.acts - SCRATCH_WORDS - new.normed) // words)
    if not resident:
        most = min(most, hw.stream // (MERGED * old.stream + new.stream))
    parts = cut(new.tokens, most)
    target = "merged" if s.spill == "stream" else "stream"
    for first, last in parts:
        rows, tokens = last - first, four[first:last]
        if resident:
            source = Merged(Place.STREAM, 0, old.stream, old.stream, tokens)
            to = 0 if len(parts) == 1 else int(tokens.min()) * old.stream
        else:
            s.load_stream(s.whole(old), tokens.ravel(), old)
            source = plain(Place.STREAM, MERGED * old.stream)
            to = MERGED * old.stream * most
        normed = plain(Place.ACTS, words)
        s.norm(steps.norm.name, channels, rows, source, normed)
        out = plain(Place.STREAM, new.stream, to)
        s.linear(steps.reduction.name, Epilogue.RESIDUAL, rows, normed, out, new.channels)
        if len(parts) > 1 or not after or to:
            s.store_stream(out, np.arange(first, last), new, target)
    s.spill = target
    if after and (len(parts) > 1 or to):
        s.load_stream(s.whole(new), np.arange(new.tokens), new)


def merged_tokens(old: int, new: int) -> np.ndarray:
    """The numbers of the tokens that each merged one joins: (new * new, 4). old, new: sides."""
    y, x = (n.ravel() for n in np.mgrid[:new, :new])
    pieces = [(2 * y + dy) * old + 2 * x + dx for dx in (0, 1) for dy in (0, 1)]
    return np.stack(pieces, 1)


def head(s: SwinSchedule) -> None:
    stage, name = s.stages[-1], s.steps.norm.name
    normed, source = plain(Place.ACTS, stage.normed), s.whole(stage)
    if s.plans[-1].resident:
        s.norm(name, stage.channels, stage.tokens, source, normed)
    else:
        for first, last in cut(stage.tokens, s.hw.stream // stage.stream):
            s.load_stream(source, np.arange(first, last), stage)
            s.norm(name, stage.channels, last - first, source, normed.at(first))
    to = Rows(Place.STREAM, 0, s.logit_words, s.logit_words)
    s.linear(s.steps.head.name, Epilogue.LOGITS, 1, normed, to, s.size.classes)
    size = s.logit_words * s.hw.stream_bytes
    s.emitter.store_rows("logits", 1, to, Lines(s.memory_map.address("logits"), size, size))
