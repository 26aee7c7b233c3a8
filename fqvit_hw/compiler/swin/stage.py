"""A stage of a Swin on one machine: sizes, and how many windows and tokens go together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...machine.hardware import Hardware
from ..tiling import SCRATCH_WORDS, ceil, cut, k_groups, weight_bytes, whole_beats


@dataclass(frozen=True)
class StagePlan:
    """group: windows carried out together; part: tokens of proj .. fc2; inner: of fc1, fc2 inside;
    resident: all of the stage's stream on chip; slots: of the stream, else; context: on chip."""

    group: int
    part: int
    inner: int
    resident: bool
    slots: int
    context: bool


class Stage:
    """Sizes of a stage, in words of a row and tiles of a window.

    side, window: of the image and of a window, in tokens; key_windows: windows whose keys and
    values are on chip; code_windows: of those, whose codes and reciprocals are.
    Raises ValueError if one window has no room.
    """

    def __init__(self, hw: Hardware, side: int, channels: int, head_dim: int, window: int):
        R, C = hw.rows, hw.cols
        self.hw, self.side, self.channels, self.head_dim = hw, side, channels, head_dim
        self.window_tokens, self.windows = window**2, (side // window) ** 2
        self.tokens = side * side
        self.heads, self.hidden = channels // head_dim, 4 * channels
        self.normed = whole_beats(ceil(channels, R), R, hw)
        self.head = whole_beats(ceil(head_dim, R), R, hw)
        self.mlp = ceil(self.hidden, R)
        self.context, self.stream = self.heads * self.head, ceil(channels, C)
        self.codes = ceil(self.window_tokens, R)
        self.key_stride, self.value_stride = ceil(head_dim, R), ceil(head_dim, C)
        self.keys = ceil(self.window_tokens, C) * self.key_stride
        self.values = ceil(self.window_tokens, R) * self.value_stride
        self.key_windows = (hw.tiles - hw.ring) // (self.keys + self.values)
        rows = hw.codes // self.codes
        self.code_windows = min(rows, hw.max_tokens) // self.window_tokens
        if self.key_windows < 1 or self.code_windows < 1:
            raise ValueError(f"{hw.name}: a window's keys or codes do not fit")

    def plan(self) -> StagePlan:
        """The one that moves the fewest bytes. Raises ValueError if there is none."""
        best = min(self.plans(), key=self.bytes_moved, default=None)
        if best is None:
            raise ValueError(f"{self.hw.name}: one window of {self.channels} channels does not fit")
        return best

    def plans(self) -> Iterator[StagePlan]:
        """Those that fit: most windows first, the largest part and inner block with them."""
        hw = self.hw
        resident = self.tokens * self.stream <= hw.stream
        for group in range(self.windows, 0, -1):
            tokens = group * self.window_tokens
            slots = 2 if not resident and 2 * tokens * self.stream <= hw.stream else 1
            for context in (True, False):
                kept = self.context if context else self.head
                if tokens * (self.normed + self.head + kept) > self.acts:
                    continue
                for parts in range(1, tokens + 1):
                    part = ceil(tokens, parts)
                    inner = self.inner(tokens, part, context)
                    if inner < 1 or (not resident and part * self.stream * slots > hw.stream):
                        continue
                    yield StagePlan(group, part, inner, resident, slots, context)
                    if resident:  # smaller parts only move more weights
                        break

    @property
    def acts(self) -> int:
        """Words of acts beside the last LayerNorm, a LOAD's scratch and what pads K groups."""
        padding = max(k_groups(self.mlp, self.hw)[0], 2)
        return self.hw.acts - SCRATCH_WORDS - self.normed - padding

    def inner(self, tokens: int, part: int, context: bool) -> int:
        """Tokens of the MLP at once, beside what must wait on chip meanwhile; 0: none fit."""
        begin = part * self.normed
        if context:
            waiting = self.context if part < tokens else 0  # context of later parts
            begin = tokens * (self.normed + waiting)
        elif begin + part * self.context > self.acts:
            return 0
        return max(min(part, (self.acts - begin) // self.mlp), 0)

    def bytes_moved(self, plan: StagePlan) -> int:
        """In a block: weights, and what does not stay on chip."""
        hw, C = self.hw, self.channels
        parts = ceil(plan.group * self.window_tokens, plan.part)
        groups = ceil(self.windows, plan.group)
        key_groups = sum(ceil(b - a, self.key_windows) for a, b in cut(self.windows, plan.group))
        mlp = weight_bytes(self.hidden, self.normed, hw) + weight_bytes(C, self.mlp, hw)
        moved = key_groups * 3 * self.heads * weight_bytes(self.head_dim, self.normed, hw)
        moved += groups * parts * weight_bytes(C, self.context, hw)
        moved += groups * parts * ceil(plan.part, plan.inner) * mlp
        if not plan.resident:  # loaded for norm1, again for proj if in parts, stored
            stream = self.tokens * self.stream * hw.stream_bytes
            moved += (2 if parts == 1 else 3) * stream
        if not plan.context:
            moved += 2 * self.tokens * self.context * hw.rows
        return moved
