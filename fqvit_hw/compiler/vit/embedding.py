"""From pixels to the residual stream: positions are loaded, the patch embedding is added."""

from __future__ import annotations

import numpy as np

from ...formats import ceil_log2
from ...machine.isa import Epilogue
from ..patterns import Lines, Place, Rows, Words
from ..tiling import ceil, cut
from .constants import ClassToken, Positions
from .placement import IMAGE
from .schedule import Schedule, epilogue


def embedding(s: Schedule) -> None:
    """All patches, some rows of them at a time, and norm1 of the first block behind them."""
    plan, places, first_block = s.plan, s.places, s.steps.blocks[0]
    for first, last in cut(s.shape.strips, plan.strips):
        rows = (last - first) * s.shape.strip
        token = first * s.shape.strip + 1
        stream = places.stream.at(token if plan.stream_resident else 1)
        if first == 0:
            first_patches(s, last, rows, stream)
            begin, stream = 0, stream.at(-1)  # with the class token
        else:
            load_positions(s, stream, token, rows, 0, s.words.stream_tiles)
            load_patches(s, first, last)
            embed(s, stream, token, rows, 0, s.shape.channels)
            begin = token
        normed = places.normed.at(begin if plan.normed_resident else 0)
        s.norm1_rows(first_block, begin, token + rows, stream, normed)
        if not plan.stream_resident:
            s.spill_rows("stream", begin, token + rows, stream)
    s.load_softmax(first_block)
    s.load_gelu(first_block)
    s.load_norm(first_block.norm2)


def first_patches(s: Schedule, last: int, rows: int, stream: Rows) -> None:
    """Rows of patches 0..last, in three steps, so that the array begins as early as it can: the
    first column tile needs its own positions only, the second has the time of the first to load."""
    C, channels, tiles = s.hw.cols, s.shape.channels, s.words.stream_tiles
    load_positions(s, stream, 1, rows, 0, 1)
    load_class_token(s, stream.at(-1))
    load_patches(s, 0, last)
    embed(s, stream, 1, rows, 0, min(C, channels))
    if tiles > 1:
        load_positions(s, stream, 1, rows, 1, 2)
        embed(s, stream, 1, rows, C, min(2 * C, channels))
    if tiles > 2:
        load_positions(s, stream, 1, rows, 2, tiles)
        embed(s, stream, 1, rows, 2 * C, channels)


def load_positions(s: Schedule, stream: Rows, token: int, rows: int, tile: int, end: int) -> None:
    """Column tiles tile..end of the position embedding of `rows` tokens from `token` on."""
    hw, patches, word = s.hw, s.shape.tokens - 1, s.hw.stream_bytes
    address = s.memory_map.constant(Positions(s.words.stream_tiles * patches * word))
    part = stream.part(tile, end - tile)
    words = part.addresses(rows).T.reshape(-1, 1)  # an outer step is a column tile
    address += (tile * patches + token - 1) * word
    fields = dict(
        base=part.base * word, count2=end - tile, from2=patches * word, to2=word,
        pieces=rows, piece=word, to_piece=s.words.stream * word,
        chunk=ceil_log2(min(word, hw.bus_bytes)),
    )  # fmt: skip
    s.emitter.load("positions", Words(Place.STREAM, words), len(words), address, fields)


def load_class_token(s: Schedule, stream: Rows) -> None:
    size = s.words.stream_tiles * s.hw.stream_bytes
    constant = ClassToken(s.steps.embed, size)
    lines = Lines(s.memory_map.constant(constant), size, size)
    s.emitter.load_rows(constant.name, 1, stream, lines)


def load_patches(s: Schedule, first: int, last: int) -> None:
    """Rows of patches first..last, each patch a row of acts in the order (channel, y, x)."""
    shape, hw, to = s.shape, s.hw, s.places.patches
    side, row = shape.patch, to.stride * hw.rows
    address = s.memory_map.address(IMAGE) + first * side * shape.width
    steps = dict(
        from2=side * shape.width, from1=shape.height * shape.width, from0=shape.width,
        to2=shape.strip * row, to1=side * side, to0=side, to_piece=row, base=to.base * hw.rows,
    )  # fmt: skip
    limit = min(hw.rows, hw.bus_bytes)
    chunk = int(np.gcd.reduce([*steps.values(), side, address, limit]))
    chunk &= -chunk  # the largest power of two that divides all of them
    fields = steps | dict(
        flip=1, count2=last - first, count1=shape.colors, count0=side, pieces=shape.strip,
        piece=side, chunk=ceil_log2(chunk),
    )  # fmt: skip
    rows = (last - first) * shape.strip
    s.emitter.load(IMAGE, to, rows, address, fields, credit=shape.strip)


def embed(s: Schedule, stream: Rows, token: int, rows: int, first: int, end: int) -> None:
    """Output channels first..end of the patch embedding of `rows` tokens from `token` on."""
    C, step, add = s.hw.cols, s.steps.patch_embed, s.steps.embed
    weights = s.linear(step, s.shape.channels, s.words.patch, add)
    s.emitter.gemm(
        step.name, epilogue(add, (token, token + rows), (first, end)), Epilogue.RESIDUAL, rows,
        s.places.patches, stream.part(first // C, ceil(end - first, C)), end - first,
        weights.at(first, s.hw), **s.scalars.residual(step, add),
    )  # fmt: skip
