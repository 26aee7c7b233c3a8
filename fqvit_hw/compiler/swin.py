"""A plausible instruction list of a Swin Transformer, for the cycle model only.

The compiler refuses Swin and the RTL cannot run it. This schedule says what a machine of the same
units would do with its time: the same GEMMs over the same tiles, LayerNorms and softmaxes over the
same rows, waits row by row found by the compiler's own `Builder`, and the traffic of whatever does
not fit on chip. A stage is carried out block by block, a block by groups of windows, for attention
never leaves its window: norm1, head by head k, v, q, then scores and context window by window,
proj, norm2, the MLP in blocks of tokens. The stream stays on chip if a whole stage of it fits, else
each group loads its own and stores it again.

Left out, and why:
- the relative position bias and the mask: part of the epilogue of the scores, no array beats;
- address generation beyond base and stride: windows, shifts and 2 x 2 patches count as plain rows
  (their dependencies are those of the true tokens), a window's keys begin with a tile of their own;
- the LayerNorm after the patch embedding writes activations, which become the stream by way of
  memory; the mean over all tokens before the head has no unit (49 rows, once).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np

from ..errors import UserError
from ..formats import ceil_log2
from ..machine.hardware import EXP_BYTES, GELU_ENTRIES, NORM_BYTES, PARAM_BYTES, Hardware
from ..machine.isa import Epilogue, Instruction, Opcode, Space, Unit
from .build import Access, Builder, Rows, Tiles
from .memory_map import Window
from .plan import SCRATCH_WORDS, blocks, ceil, k_groups, weight_bytes

SIDE = 7  # of a window
TOKENS = SIDE * SIDE
MERGED = 4


@dataclass(frozen=True)
class SwinSize:
    """channels: of the first stage; each next one has twice as many and a quarter of the tokens."""

    channels: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    head_dim: int = 32
    image: int = 224
    patch: int = 4
    classes: int = 1000

    @property
    def stages(self) -> list[tuple[int, int]]:
        """(side in tokens, channels) of each."""
        side = self.image // self.patch
        return [(side >> i, self.channels << i) for i in range(len(self.depths))]

    @property
    def macs(self) -> int:
        """The network's own multiplications and shifts."""
        side, C = self.stages[0]
        total = side**2 * 3 * self.patch**2 * C
        for i, (side, C) in enumerate(self.stages):
            N = side**2
            total += self.depths[i] * (N * 12 * C * C + 2 * N * TOKENS * C)
            if i:
                total += N * 2 * C * C  # 4 C/2 -> C
        return total + C * self.classes


SWIN = {
    "swin_tiny": SwinSize(),
    "swin_small": SwinSize(depths=(2, 2, 18, 2)),
    "swin_base": SwinSize(channels=128, depths=(2, 2, 18, 2)),
}


@dataclass(frozen=True)
class Tokens(Rows):
    """Rows in an order of their own: row r is number order[r]."""

    order: np.ndarray | None = None

    def addresses(self, rows: int) -> np.ndarray:
        start = self.base + self.order[:rows, None] * self.stride
        return start + np.arange(self.words)


@dataclass(frozen=True)
class Merged(Rows):
    """A row is the words of four tokens: four[r], (rows, 4) numbers."""

    four: np.ndarray | None = None

    def addresses(self, rows: int) -> np.ndarray:
        start = self.base + self.four[:rows, :, None] * self.stride
        return (start + np.arange(self.words)).reshape(rows, -1)


def rows_of(space: str, words: int, base: int = 0) -> Rows:
    """Rows without gaps."""
    return Rows(space, base, words, words)


def tokens_at(rows: Rows, first: int, last: int) -> Rows:
    """Rows first..last in their order."""
    if isinstance(rows, Tokens):
        return replace(rows, order=rows.order[first:last])
    return rows.at(first)


@dataclass(frozen=True)
class WindowTiles(Tiles):
    """Keys or values of many windows, each with `each` tiles of its own."""

    each: int = 0


class SwinBuilder(Builder):
    """Writes keys window by window; copies rows of the stream by the numbers of their tokens."""

    def epilogue_accesses(self, epilogue, rows, to, columns, first):
        if not isinstance(to, WindowTiles):
            return super().epilogue_accesses(epilogue, rows, to, columns, first)
        hw, token = self.hw, np.arange(rows)[:, None]
        per, along = (hw.cols, hw.rows) if epilogue is Epilogue.KEYS else (hw.rows, hw.cols)
        words = to.base + token // TOKENS * to.each + token % TOKENS // per * to.stride
        return [Access("tiles", words + np.arange(ceil(columns, along)), True)]

    def copy(self, unit: Unit, layer, rows: Rows, order, address: int, width: int, word: int):
        """Row r on chip and line order[r] of `width` bytes in memory."""
        n, space = len(order), Space.STREAM if rows.space == "stream" else Space.ACTS
        lines = self.beats(address + np.asarray(order) * width, width)
        load = unit is Unit.LOAD
        accesses = [Access(rows.space, rows.addresses(n), load), Access("memory", lines, not load)]
        whole = [replace(a, words=a.words.reshape(1, -1)) for a in accesses]
        waits = self.waits(unit, whole, 1, 2)
        done = self.tracker.counts[unit] + np.arange(n) + 1
        fields = dict(space=space, address=address)
        if load:
            fields |= dict(
                base=rows.base * word, count2=n, count1=1, count0=1, from2=width,
                to2=rows.stride * word, pieces=1, piece=width,
                chunk=ceil_log2(min(word, self.hw.bus_bytes)), credit=1,
            )  # fmt: skip
        else:
            fields |= dict(base=rows.base, stride=rows.stride, lines=n, words=rows.words, to0=width)
        self.append(Opcode.LOAD if load else Opcode.STORE, layer, {}, waits, **fields)
        self.advance(unit, n, waits)
        for access in accesses:
            access.done = done
            self.tracker.touch(unit, access)


def window_order(side: int, shift: int) -> np.ndarray:
    """Token numbers (row by row of the image) window by window, after a cyclic shift."""
    grid = np.arange(side * side).reshape(side, side)
    grid = np.roll(grid, (-shift, -shift), (0, 1))
    n = side // SIDE
    return grid.reshape(n, SIDE, n, SIDE).transpose(0, 2, 1, 3).reshape(-1)


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
    """Sizes of a stage on one machine, in words of a row and tiles of a window."""

    def __init__(self, hw: Hardware, side: int, channels: int, head_dim: int):
        R, C = hw.rows, hw.cols
        self.hw, self.side, self.channels = hw, side, channels
        self.tokens, self.windows = side * side, (side // SIDE) ** 2
        self.heads, self.hidden = channels // head_dim, 4 * channels
        beat = max(1, hw.bus_bytes // R)  # rows in memory are whole beats

        def words(n: int) -> int:
            return ceil(ceil(n, R), beat) * beat

        self.normed, self.head, self.mlp = words(channels), words(head_dim), ceil(4 * channels, R)
        self.context, self.stream = self.heads * self.head, ceil(channels, C)
        self.codes = ceil(TOKENS, R)
        self.key_stride, self.value_stride = ceil(head_dim, R), ceil(head_dim, C)
        self.keys = ceil(TOKENS, C) * self.key_stride
        self.values = ceil(TOKENS, R) * self.value_stride
        self.head_dim = head_dim
        # windows whose keys and values are on chip; of those, whose codes and reciprocals are
        self.key_windows = (hw.tiles - hw.ring) // (self.keys + self.values)
        self.code_windows = min(hw.codes // (TOKENS * self.codes), hw.max_tokens // TOKENS)
        if self.key_windows < 1 or self.code_windows < 1:
            raise UserError(f"{hw.name}: a window's keys or codes do not fit")

    def plan(self) -> StagePlan:
        """The one that moves the fewest bytes. Raises ValueError if there is none."""
        hw, C = self.hw, self.channels
        acts = hw.acts - SCRATCH_WORDS - self.normed - max(k_groups(self.mlp, hw)[0], 2)
        resident = self.tokens * self.stream <= hw.stream
        qkv = 3 * self.heads * weight_bytes(self.head_dim, self.normed, hw)
        proj = weight_bytes(C, self.context, hw)
        mlp = weight_bytes(4 * C, self.normed, hw) + weight_bytes(C, self.mlp, hw)
        stream = self.tokens * self.stream * hw.stream_bytes
        best = None
        for group in range(self.windows, 0, -1):
            T = group * TOKENS
            for context in (True, False):
                kept = self.context if context else self.head
                if T * (self.normed + self.head + kept) > acts:
                    continue
                slots = 2 if not resident and 2 * T * self.stream <= hw.stream else 1
                for parts in range(1, T + 1):
                    part = ceil(T, parts)
                    if not resident and part * self.stream * slots > hw.stream:
                        continue
                    begin = part * self.normed
                    if context:
                        begin = T * (self.normed + (self.context if parts > 1 else 0))
                    elif begin + part * self.context > acts:
                        continue
                    inner = min(part, (acts - begin) // self.mlp)
                    if inner < 1:
                        continue
                    groups = ceil(self.windows, group)
                    key_groups = sum(
                        ceil(b - a, self.key_windows) for a, b in blocks(self.windows, group)
                    )
                    cost = key_groups * qkv + groups * parts * proj
                    cost += groups * parts * ceil(part, inner) * mlp
                    cost += 0 if resident else (2 if parts == 1 else 3) * stream
                    cost += 0 if context else 2 * self.tokens * self.context * hw.rows
                    if best is None or cost < best[0]:
                        best = cost, StagePlan(group, part, inner, resident, slots, context)
                    if resident or parts * part > 4 * T:
                        break
        if best is None:
            raise UserError(f"{hw.name}: one window of {C} channels does not fit")
        return best[1]


class SwinSchedule:
    """`instructions`: the list. Raises ValueError for what does not fit."""

    def __init__(self, size: SwinSize, hw: Hardware):
        self.size, self.hw = size, hw
        widest = MERGED * size.stages[-2][1]
        if widest > hw.max_channels:
            raise UserError(
                f"{hw.name}: patch merging has {widest} channels, {hw.max_channels} fit"
            )
        self.stages = [Stage(hw, side, C, size.head_dim) for side, C in size.stages]
        self.plans = [stage.plan() for stage in self.stages]
        self.window = window = Window()
        window.region("scratch", "spill", 256)
        window.region("logits", "logits", self.logit_words * hw.stream_bytes)
        start = window.size
        largest = max(s.tokens * s.stream for s in self.stages) * hw.stream_bytes
        for name in ("stream", "merged"):
            window.region(name, "spill", largest)
        contexts = max(s.tokens * s.context for s in self.stages) * hw.rows
        window.region("context", "spill", contexts)
        window.region("image", "spill", 3 * size.image**2 * 4)
        self.builder = SwinBuilder(hw, window, (start, window.size - start))
        self.spill = "stream"  # where the stream is, off chip
        self.patches()
        for i in range(len(self.stages)):
            if i:
                self.merge(i)
            for j in range(size.depths[i]):
                self.block(i, j)
        self.head()
        self.builder.end()
        self.instructions: list[Instruction] = self.builder.instructions

    @property
    def logit_words(self) -> int:
        return ceil(2 * self.size.classes, self.hw.cols)

    # --- pieces

    def linear(self, name: str, k_words: int, outputs: int) -> dict:
        groups, k_tiles = k_groups(k_words, self.hw)
        tile = PARAM_BYTES * self.hw.cols + groups * k_tiles * self.hw.tile_bytes
        address = self.window.constant(f"{name} weights", ceil(outputs, self.hw.cols) * tile, None)
        return dict(address=address, k_tiles=k_tiles, groups=groups)

    def gemm(self, name, epilogue, rows, source, to, columns, **fields) -> None:
        """A Linear; `source.words` long."""
        fields = self.linear(name, source.words, columns) | fields
        self.builder.gemm(name, {}, epilogue, rows, source, to, columns, **fields)

    def norm(self, name: str, channels: int, rows: int, source: Rows, to: Rows) -> None:
        self.norm_table(name, channels)
        p = SimpleNamespace(
            factor=np.broadcast_to(0, channels), eps=1, zero=0, gamma_shift=0, zero_out=0
        )
        self.builder.norm(name, None, p, rows, source, to)

    def norm_table(self, name: str, channels: int) -> None:
        self.builder.table(Space.NORM_TABLE, name, NORM_BYTES * channels, None)

    def move(self, unit: Unit, rows: Rows, order, stage: Stage, region: str | None = None) -> None:
        """Rows of the stream from or to memory."""
        width = stage.stream * self.hw.stream_bytes
        address = self.window.regions[region or self.spill].address
        self.builder.copy(unit, "stream", rows, order, address, width, self.hw.stream_bytes)

    # --- the network

    def patches(self) -> None:
        """Patch embedding, norm; the codes become the stream by way of memory."""
        stage, b, hw = self.stages[0], self.builder, self.hw
        words = ceil(3 * self.size.patch**2, hw.rows)
        room = hw.acts - SCRATCH_WORDS - stage.normed
        most = min(stage.tokens, hw.stream // stage.stream, room // (words + stage.normed))
        width, image = words * hw.rows, self.window.regions["image"].address
        width = ceil(width, hw.bus_bytes) * hw.bus_bytes
        for first, last in blocks(stage.tokens, most):
            rows, order = last - first, np.arange(first, last)
            patches = rows_of("acts", words)
            normed = rows_of("acts", stage.normed, most * words)
            stream = rows_of("stream", stage.stream)
            b.copy(Unit.LOAD, "image", patches, order, image, width, hw.rows)
            self.gemm("patch_embed", Epilogue.RESIDUAL, rows, patches, stream, stage.channels)
            self.norm("patch_embed.norm", stage.channels, rows, stream, normed)
            address = self.window.regions[self.spill].address
            width2 = stage.normed * hw.rows
            b.copy(Unit.STORE, "stream", normed, order, address, width2, hw.rows)
        if self.plans[0].resident:
            self.move(Unit.LOAD, self.whole(stage), np.arange(stage.tokens), stage)

    def whole(self, stage: Stage) -> Rows:
        return rows_of("stream", stage.stream)

    def merge(self, i: int) -> None:
        """Four tokens become one: norm, reduction."""
        old, new, hw = self.stages[i - 1], self.stages[i], self.hw
        resident, after = self.plans[i - 1].resident, self.plans[i].resident
        channels, words = MERGED * old.channels, MERGED * old.normed
        side, name = new.side, f"layers.{i}.downsample"
        y, x = (n.ravel() for n in np.mgrid[:side, :side])
        pieces = [(2 * y + dy) * old.side + 2 * x + dx for dx in (0, 1) for dy in (0, 1)]
        four = np.stack(pieces, 1)  # (tokens, 4)
        most = min(new.tokens, (hw.acts - SCRATCH_WORDS - new.normed) // words)
        if not resident:
            most = min(most, hw.stream // (MERGED * old.stream + new.stream))
        parts = blocks(new.tokens, most)
        target = "merged" if self.spill == "stream" else "stream"
        for first, last in parts:
            rows, tokens = last - first, four[first:last]
            if resident:
                source = Merged("stream", 0, old.stream, old.stream, tokens)
                to = 0 if len(parts) == 1 else int(tokens.min()) * old.stream
            else:
                order = tokens.ravel()
                self.move(Unit.LOAD, rows_of("stream", old.stream), order, old)
                source = rows_of("stream", MERGED * old.stream)
                to = MERGED * old.stream * most
            normed = rows_of("acts", words)
            self.norm(f"{name}.norm", channels, rows, source, normed)
            out = rows_of("stream", new.stream, to)
            self.gemm(f"{name}.reduction", Epilogue.RESIDUAL, rows, normed, out, new.channels)
            if len(parts) > 1 or not after or to:
                self.move(Unit.STORE, out, np.arange(first, last), new, target)
        self.spill = target
        if after and (len(parts) > 1 or to):
            self.move(Unit.LOAD, self.whole(new), np.arange(new.tokens), new)

    def block(self, i: int, j: int) -> None:
        stage, plan = self.stages[i], self.plans[i]
        shift = SIDE // 2 if j % 2 and stage.side > SIDE else 0
        order = window_order(stage.side, shift)
        groups = blocks(stage.windows, plan.group)
        name, C = f"layers.{i}.blocks.{j}", stage.channels
        b = self.builder
        b.table(Space.EXP_TABLE, f"{name} exponentials", 256 * EXP_BYTES, None)
        b.table(Space.GELU_TABLE, f"{name} gelu", GELU_ENTRIES, None)
        whole = plan.part >= plan.group * TOKENS  # a group's stream stays where it is until fc2
        overlap = whole and (plan.resident or plan.slots == 2)
        normed = rows_of("acts", stage.normed)
        for g, (a, z) in enumerate(groups):
            tokens = order[a * TOKENS : z * TOKENS]
            stream = self.stream_of(stage, plan, tokens, g)

            def part(first, last, load, stream=stream, tokens=tokens):
                if load and not plan.resident:
                    self.move(Unit.LOAD, stream, tokens[first:last], stage)
                return tokens_at(stream, first, last) if plan.resident or whole else stream

            parts = blocks(len(tokens), plan.part)
            for first, last in parts if g == 0 or not overlap else []:
                source = part(first, last, True)
                self.norm(f"{name}.norm1", C, last - first, source, normed.at(first))
            self.attention(stage, plan, name, tokens, normed)
            following, count = None, 0
            if overlap and g + 1 < len(groups):
                c, d = (n * TOKENS for n in groups[g + 1])
                following, count = self.stream_of(stage, plan, order[c:d], g + 1), d - c
                if not plan.resident:
                    self.move(Unit.LOAD, following, order[c:d], stage)
            for first, last in parts:
                source = part(first, last, not whole)
                self.rest(stage, plan, name, tokens, source, first, last, following, count)
                if not plan.resident:
                    self.move(Unit.STORE, source, tokens[first:last], stage)

    def stream_of(self, stage, plan, tokens, g: int) -> Rows:
        """Where a group's stream lies: in place, or in one of the slots."""
        if plan.resident:
            return Tokens("stream", 0, stage.stream, stage.stream, tokens)
        slot = g % plan.slots * plan.group * TOKENS * stage.stream
        return rows_of("stream", stage.stream, slot)

    def attention(self, stage, plan, name, tokens, normed) -> None:
        b, most = self.builder, plan.group * TOKENS
        base = most * stage.normed
        kept = stage.context if plan.context else stage.head
        context = Rows("acts", base, kept, kept)
        q = Rows("acts", base + most * kept, stage.head, stage.key_stride)
        keys = WindowTiles(self.hw.ring, stage.key_stride, stage.keys)
        at = self.hw.ring + stage.key_windows * stage.keys
        values = WindowTiles(at, stage.value_stride, stage.values)
        codes = Rows("codes", 0, stage.codes, stage.codes)
        padded = stage.key_stride * self.hw.rows
        scalar = dict(scalar=1, multiplier=1, shift=1, row_norm=1)
        for h in range(stage.heads):
            out = context.part(h * stage.head, stage.head) if plan.context else context
            for first, last in blocks(len(tokens) // TOKENS, stage.key_windows):
                rows, row = (last - first) * TOKENS, first * TOKENS
                source, D = normed.at(row), stage.head_dim
                for part, epilogue, columns, to in (
                    ("k", Epilogue.KEYS, padded, keys),
                    ("v", Epilogue.VALUES, D, values),
                    ("q", Epilogue.CODES8, padded, q.at(row)),
                ):
                    self.gemm(f"{name}.qkv {h} {part}", epilogue, rows, source, to, columns)
                for a, z in blocks(last - first, stage.code_windows):
                    for w in range(a, z):
                        b.gemm(
                            f"{name}.scores", {}, Epilogue.SCORES, TOKENS, q.at(row + w * TOKENS),
                            codes.at((w - a) * TOKENS), TOKENS, stage.key_stride,
                            inner=ceil(TOKENS, self.hw.cols),
                            tiles=Tiles(keys.base + w * keys.each, 0),
                            tile_inner=stage.key_stride, tile_k=1, **scalar,
                        )  # fmt: skip
                    for w in range(a, z):
                        b.gemm(
                            f"{name}.context", {}, Epilogue.CODES8, TOKENS,
                            codes.at((w - a) * TOKENS), out.at(row + w * TOKENS), D, stage.codes,
                            inner=stage.value_stride,
                            tiles=Tiles(values.base + w * values.each, 0), tile_inner=1,
                            tile_k=stage.value_stride, bitshift=1, **scalar,
                        )  # fmt: skip
            if not plan.context:
                self.spill_context(Unit.STORE, stage, out, tokens, h, stage.head)

    def spill_context(self, unit, stage, rows, tokens, h: int, words: int) -> None:
        width = words * self.hw.rows
        address = self.window.regions["context"].address + h * stage.tokens * width
        self.builder.copy(unit, "context", rows, tokens, address, width, self.hw.rows)

    def rest(self, stage, plan, name, tokens, stream, first, last, following, count) -> None:
        """proj .. fc2 of the group's tokens first..last; then norm1 of the next group's."""
        C, rows, most = stage.channels, last - first, plan.group * TOKENS
        normed = rows_of("acts", stage.normed)
        split = plan.part < most
        if plan.context:
            base = most * stage.normed
            context = rows_of("acts", stage.context, base).at(first)
            hidden = base + (most * stage.context if split else 0)
        else:
            hidden = plan.part * stage.normed
            context = rows_of("acts", stage.context, hidden)
            self.spill_context(Unit.LOAD, stage, context, tokens[first:last], 0, stage.context)
        hidden = rows_of("acts", stage.mlp, hidden)
        self.gemm(f"{name}.proj", Epilogue.RESIDUAL, rows, context, stream, C)
        self.norm(f"{name}.norm2", C, rows, stream, normed)
        if count:
            self.norm_table(f"{name}.norm1", C)
        for a, z in blocks(rows, plan.inner):
            self.gemm(f"{name}.fc1", Epilogue.GELU, z - a, normed.at(a), hidden, 4 * C)
            part = tokens_at(stream, a, z)
            self.gemm(f"{name}.fc2", Epilogue.RESIDUAL, z - a, hidden, part, C)
            end = count if z == rows else min(z, count)  # groups differ by a window at most
            if a < end:
                source = tokens_at(following, a, end)
                self.norm(f"{name}.norm1", C, end - a, source, normed.at(a))

    def head(self) -> None:
        stage, classes = self.stages[-1], self.size.classes
        normed = rows_of("acts", stage.normed)
        source = self.whole(stage)
        if not self.plans[-1].resident:
            for first, last in blocks(stage.tokens, self.hw.stream // stage.stream):
                self.move(Unit.LOAD, source, np.arange(first, last), stage)
                self.norm("norm", stage.channels, last - first, source, normed.at(first))
        else:
            self.norm("norm", stage.channels, stage.tokens, source, normed)
        words = self.logit_words
        to = Rows("stream", 0, words, words)
        self.gemm("head", Epilogue.LOGITS, 1, normed, to, classes)
        size = words * self.hw.stream_bytes
        address = self.window.regions["logits"].address
        self.builder.store_rows("logits", 1, to, address, size, self.hw.stream_bytes)
