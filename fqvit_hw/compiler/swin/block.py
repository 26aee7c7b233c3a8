"""A block of a Swin: groups of windows, in each attention and then the MLP in parts of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...machine.isa import Epilogue
from ...network.steps import BlockSteps
from ..patterns import Lines, Place, ResidentTiles, Rows
from ..tiling import ceil, cut
from .patterns import Tokens, WindowTiles, plain, window_order
from .schedule import SwinSchedule
from .stage import Stage, StagePlan


@dataclass(frozen=True)
class Group:
    """Windows that are carried out together. tokens: their numbers, window by window; stream: where
    their rows lie on chip, in place or in a slot."""

    tokens: np.ndarray
    stream: Rows


class Block:
    """Where things lie while a block is carried out.

    acts: normed | context | q, or normed | context | hidden, all of a group or of a part of it
    """

    def __init__(self, s: SwinSchedule, i: int, j: int):
        self.s, self.hw, self.emitter = s, s.hw, s.emitter
        self.stage: Stage = s.stages[i]
        self.plan: StagePlan = s.plans[i]
        self.steps: BlockSteps = s.steps.stages[i].blocks[j]
        stage, plan = self.stage, self.plan
        self.most = plan.group * stage.window_tokens  # tokens of a group
        shift = s.size.window // 2 if j % 2 and stage.side > s.size.window else 0
        self.order = window_order(stage.side, s.size.window, shift)
        self.normed = plain(Place.ACTS, stage.normed)
        # a group's stream stays where it is until fc2; the next group's may lie beside it
        self.whole = plan.part >= self.most
        self.overlap = self.whole and (plan.resident or plan.slots == 2)

    def groups(self) -> list[Group]:
        stage, plan, N = self.stage, self.plan, self.stage.window_tokens
        groups = []
        for g, (a, z) in enumerate(cut(stage.windows, plan.group)):
            tokens = self.order[a * N : z * N]
            if plan.resident:
                stream = Tokens(Place.STREAM, 0, stage.stream, stage.stream, tokens)
            else:
                slot = g % plan.slots * self.most * stage.stream
                stream = plain(Place.STREAM, stage.stream, slot)
            groups.append(Group(tokens, stream))
        return groups

    def norm1(self, first: int, rows: int, source: Rows) -> None:
        """Of the group's tokens from `first` on, `rows` of them."""
        name, to = self.steps.norm1.name, self.normed.at(first)
        self.s.norm(name, self.stage.channels, rows, source, to)

    def load(self, group: Group, first: int = 0, last: int | None = None) -> None:
        """The stream of a group's tokens first..last, if it does not stay on chip."""
        if not self.plan.resident:
            self.s.load_stream(group.stream, group.tokens[first:last], self.stage)

    def part(self, group: Group, first: int) -> Rows:
        """Where the stream of a group's tokens from `first` on lies."""
        if self.plan.resident or self.whole:
            return group.stream.at(first)
        return group.stream  # the part alone was loaded


def block(s: SwinSchedule, i: int, j: int) -> None:
    """Block j of stage i."""
    b = Block(s, i, j)
    s.load_table(f"{b.steps.attention} exponentials", Place.SOFTMAX_TABLE)
    s.load_table(f"{b.steps.gelu.name} table", Place.GELU_TABLE)
    groups = b.groups()
    for g, group in enumerate(groups):
        parts = cut(len(group.tokens), b.plan.part)
        if g == 0 or not b.overlap:  # else done behind fc2 of the group before
            for first, last in parts:
                b.load(group, first, last)
                b.norm1(first, last - first, b.part(group, first))
        attention(b, group)
        following = groups[g + 1] if b.overlap and g + 1 < len(groups) else None
        if following:
            b.load(following)
        for first, last in parts:
            if not b.whole:
                b.load(group, first, last)
            rest(b, group, first, last, following)
            if not b.plan.resident:
                s.store_stream(b.part(group, first), group.tokens[first:last], b.stage)


def attention(b: Block, group: Group) -> None:
    """Head by head: k, v, q of as many windows as have room, then scores and context of each."""
    stage, plan, N = b.stage, b.plan, b.stage.window_tokens
    R, C, base = b.hw.rows, b.hw.cols, b.most * stage.normed
    kept = stage.context if plan.context else stage.head
    context = plain(Place.ACTS, kept, base)
    q = Rows(Place.ACTS, base + b.most * kept, stage.head, stage.key_stride)
    at = b.hw.ring + stage.key_windows * stage.keys
    keys = WindowTiles(b.hw.ring, stage.key_stride, C, window=N, each=stage.keys)
    values = WindowTiles(at, stage.value_stride, R, window=N, each=stage.values)
    codes = plain(Place.CODES, stage.codes)
    padded, D, name = stage.key_stride * R, stage.head_dim, b.steps.qkv.name
    for h in range(stage.heads):
        out = context.part(h * stage.head, stage.head) if plan.context else context
        for first, last in cut(len(group.tokens) // N, stage.key_windows):
            rows, row = (last - first) * N, first * N
            source = b.normed.at(row)
            for part, epilogue, columns, to in (
                ("k", Epilogue.KEYS, padded, keys),
                ("v", Epilogue.VALUES, D, values),
                ("q", Epilogue.CODES8, padded, q.at(row)),
            ):
                b.s.linear(f"{name} {h} {part}", epilogue, rows, source, to, columns)
            for a, z in cut(last - first, stage.code_windows):
                for w in range(a, z):
                    tiles = ResidentTiles(
                        keys.base + w * keys.each, ceil(N, C), stage.key_stride, stage.key_stride, 1
                    )
                    b.s.attend(
                        b.steps.score.name, Epilogue.SCORES, q.at(row + w * N),
                        codes.at((w - a) * N), N, tiles,
                    )  # fmt: skip
                for w in range(a, z):
                    tiles = ResidentTiles(
                        values.base + w * values.each, stage.value_stride, 1, stage.codes,
                        stage.value_stride,
                    )  # fmt: skip
                    b.s.attend(
                        b.steps.context.name, Epilogue.CODES8, codes.at((w - a) * N),
                        out.at(row + w * N), D, tiles, codes=1,
                    )  # fmt: skip
        if not plan.context:
            lines = context_lines(b, group.tokens, h, stage.head)
            b.emitter.store_rows("context", len(group.tokens), out, lines)


def context_lines(b: Block, tokens: np.ndarray, h: int, words: int) -> Lines:
    """Where the context of tokens lies in memory, from head h on."""
    width = words * b.hw.rows
    address = b.s.memory_map.address("context") + h * b.stage.tokens * width
    return Lines(address, width, width, tokens)


def rest(b: Block, group: Group, first: int, last: int, following: Group | None) -> None:
    """proj .. fc2 of the group's tokens first..last; then norm1 of the next group's."""
    stage, plan, steps = b.stage, b.plan, b.steps
    C, rows, stream = stage.channels, last - first, b.part(group, first)
    if plan.context:
        base = b.most * stage.normed
        context = plain(Place.ACTS, stage.context, base).at(first)
        hidden = base + (b.most * stage.context if plan.part < b.most else 0)
    else:
        hidden = plan.part * stage.normed
        context = plain(Place.ACTS, stage.context, hidden)
        lines = context_lines(b, group.tokens[first:last], 0, stage.context)
        b.emitter.load_rows("context", rows, context, lines)
    hidden = plain(Place.ACTS, stage.mlp, hidden)
    b.s.linear(steps.proj.name, Epilogue.RESIDUAL, rows, context, stream, C)
    b.s.norm(steps.norm2.name, C, rows, stream, b.normed)
    if following:
        b.s.load_norm(steps.norm1.name, C)
    for a, z in cut(rows, plan.inner):
        fc1 = b.normed.at(a)
        b.s.linear(steps.fc1.name, Epilogue.GELU, z - a, fc1, hidden, stage.hidden)
        b.s.linear(steps.fc2.name, Epilogue.RESIDUAL, z - a, hidden, stream.at(a), C)
        if following:
            count = len(following.tokens)  # groups differ by a window at most
            end = count if z == rows else min(z, count)
            if a < end:
                b.norm1(a, end - a, following.stream.at(a))
