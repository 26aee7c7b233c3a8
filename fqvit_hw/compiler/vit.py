"""The schedule of a ViT: its instructions in the order in which the units never wait for long.

Column tiles pass over all rows; the LayerNorm follows the last column tile of a residual row by
row, and the array follows the LayerNorm. Tables are loaded as soon as their last user is done.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..formats import ceil_log2
from ..machine.hardware import EXP_BYTES, GELU_ENTRIES, NORM_BYTES, PARAM_BYTES, Hardware
from ..machine.isa import Epilogue, Space, Unit
from .build import Builder, Made, Rows, Tiles
from .memory_map import Window
from .pack import pack_exponentials, pack_gelu, pack_norm, pack_params, pack_stream, pack_weights
from .plan import MAX_OUTER, Plan, Shape, Sizes, blocks, ceil, k_groups, scratch_words, whole_beats

IMAGE, LOGITS = "image", "logits"
LOGIT_BYTES = 4


class Schedule:
    """Appends a network's program to a Builder. network: shapes and scalars are read at once, the
    arrays only when the window is filled."""

    def __init__(self, network, hw: Hardware, plan: Plan, shape: Shape):
        self.network, self.hw, self.plan, self.shape = network, hw, plan, shape
        self.words = w = Sizes.of(shape, hw)
        N = shape.tokens
        self.window = window = Window()
        window.region(IMAGE, "image", int(np.prod(network.image_shape)))
        window.region(LOGITS, "logits", self.logit_words * hw.stream_bytes)
        window.region("scratch", "spill", 256)
        start = window.size
        if not plan.stream_resident:
            window.region("stream", "spill", N * w.stream * hw.stream_bytes)
        if not plan.normed_resident:
            window.region("normed", "spill", N * w.normed * hw.rows)
        if not plan.context_resident:
            window.region("context", "spill", N * w.context * hw.rows)
        self.builder = Builder(hw, window, (start, window.size - start))
        # acts: normed | q, context or context, hidden or patches
        second = plan.normed_words
        self.normed = Rows("acts", 0, w.normed, w.normed)
        if not plan.normed_resident and not plan.context_resident:
            second = plan.attention * w.normed  # attention has a border of its own
        self.context = Rows("acts", second, w.context, w.context)
        if not plan.context_resident:
            self.context = Rows("acts", second, w.head, w.head)
        held = N if plan.context_resident else plan.queries  # rows of context
        self.q = Rows("acts", second + held * self.context.stride, w.head, w.head)
        self.second = plan.normed_words
        hidden = self.second
        if plan.context_resident and plan.outer < N:
            hidden = self.context.base + N * w.context
        self.hidden = Rows("acts", hidden, w.hidden, w.hidden)
        self.final = Rows("acts", hw.acts - scratch_words(hw) - w.normed, w.normed, w.normed)
        self.stream = Rows("stream", 0, w.stream, w.stream_tiles)
        self.codes = Rows("codes", 0, w.codes, w.codes)
        self.keys = Tiles(hw.ring, w.key_stride)
        self.values = Tiles(hw.ring + w.key_tiles, w.value_stride)

    @property
    def logit_words(self) -> int:
        words = ceil(2 * self.shape.classes, self.hw.cols)
        return whole_beats(words, self.hw.stream_bytes, self.hw)

    def address(self, region: str) -> int:
        return self.window.regions[region].address

    def run(self) -> Builder:
        self.patches()
        for i in range(self.shape.depth):
            self.attention(i)
            self.rest(i)
        self.head()
        self.builder.end()
        return self.builder

    # --- tables and weights

    def norm_of(self, name: str):
        if name == "norm":
            return self.network.norm
        _, i, part = name.split(".")
        return getattr(self.network.blocks[int(i)], part)

    def load_norm(self, name: str) -> None:
        p = self.norm_of(name)
        self.builder.table(
            Space.NORM_TABLE, f"{name} parameters", NORM_BYTES * self.shape.channels,
            lambda: pack_norm(p),
        )  # fmt: skip

    def load_exponentials(self, i: int) -> None:
        p = self.network.blocks[i].attention.softmax
        self.builder.table(
            Space.EXP_TABLE, f"blocks.{i}.attn exponentials", 256 * EXP_BYTES,
            lambda: pack_exponentials(p.table),
        )  # fmt: skip

    def load_gelu(self, i: int) -> None:
        p = self.network.blocks[i].gelu
        self.builder.table(
            Space.GELU_TABLE, f"blocks.{i}.gelu table", GELU_ENTRIES, lambda: pack_gelu(p)
        )

    def weights(self, name: str, k_words: int, make, outputs: int) -> dict:
        """Fields of a GEMM. make() -> (weight (outputs, K), params (outputs, 8))."""
        hw = self.hw
        groups, k_tiles = k_groups(k_words, hw)
        tile = PARAM_BYTES * hw.cols + groups * k_tiles * hw.tile_bytes

        def content():
            weight, params = make()
            return pack_weights(hw, weight, groups * k_tiles, params)

        address = self.window.constant(f"{name} weights", ceil(outputs, hw.cols) * tile, content)
        return dict(address=address, k_tiles=k_tiles, groups=groups)

    def linear(self, name: str, linear, scaling, k_words: int, add=None) -> dict:
        def make():
            factors = (add.x_factor, add.factor) if add else (0, 0)
            return linear.weight, pack_params(
                linear.bias, scaling.multiplier, scaling.shift, *factors
            )

        return self.weights(name, k_words, make, len(linear.weight))

    def column_blocks(self, columns: int, most: int | None = None) -> list[tuple[int, int]]:
        """0..columns in blocks of whole column tiles, no more than `most` and `outer` allow."""
        C = self.hw.cols
        tiles = blocks(ceil(columns, C), min(most or MAX_OUTER, MAX_OUTER))
        return [(first * C, min(end * C, columns)) for first, end in tiles]

    def tiles_from(self, fields: dict, column: int) -> dict:
        """Fields of `weights`, from a column on: the first of a tile."""
        hw = self.hw
        per = PARAM_BYTES * hw.cols + fields["k_tiles"] * fields["groups"] * hw.tile_bytes
        return fields | dict(address=fields["address"] + column // hw.cols * per)

    def residual_fields(self, scaling, add) -> dict:
        return dict(
            zero=scaling.zero, wide=scaling.width == 16, x_zero=add.x_zero,
            x_multiplier=add.x_multiplier, y_multiplier=add.y_multiplier, add_shift=add.shift,
            add_zero=add.zero, stream16=add.width == 16,
        )  # fmt: skip

    # --- pixels to stream

    def patches(self) -> None:
        """Positions are loaded into the stream, the patch embedding is added to them in place."""
        s, plan = self.shape, self.plan
        for number, (first, last) in enumerate(blocks(s.strips, plan.strips)):
            rows = (last - first) * s.strip
            token = first * s.strip + 1
            stream = self.stream.at(token if plan.stream_resident else 1)
            self.patch_block(first, last, rows, stream, token, number == 0)
            begin = 0 if number == 0 else token
            local = stream.at(-1) if number == 0 else stream
            normed = self.normed.at(begin if plan.normed_resident else 0)
            self.norm_rows("blocks.0.norm1", begin, token + rows, local, normed)
            if not plan.stream_resident:
                self.spill_rows("stream", begin, token + rows, local)
        self.load_exponentials(0)
        self.load_gelu(0)
        self.load_norm("blocks.0.norm2")

    def patch_block(self, first, last, rows, stream, token, begin) -> None:
        """Strips first..last of the image; `stream`: where its first token lies."""
        s, w = self.shape, self.words
        C = self.hw.cols
        patches = Rows("acts", self.second, w.patch, w.patch)
        if not begin:
            self.positions(stream, token, rows, 0, w.stream_tiles)
            self.load_image(first, last, patches)
            return self.embed(stream, patches, token, rows, 0, s.channels)
        # the first column tile needs its own positions only
        self.positions(stream, token, rows, 0, 1)
        self.class_token(stream.at(-1))
        self.load_image(first, last, patches)
        self.embed(stream, patches, token, rows, 0, min(C, s.channels))
        if w.stream_tiles > 1:
            self.positions(stream, token, rows, 1, 2)
            self.embed(stream, patches, token, rows, C, min(2 * C, s.channels))
        if w.stream_tiles > 2:
            self.positions(stream, token, rows, 2, w.stream_tiles)
            self.embed(stream, patches, token, rows, 2 * C, s.channels)
        return None

    def positions(self, stream: Rows, token: int, rows: int, tile: int, end: int) -> None:
        """Column tiles tile..end of the position embedding of `rows` tokens."""
        s, hw, w = self.shape, self.hw, self.words
        patches, word = s.tokens - 1, hw.stream_bytes

        def make():  # (N - 1, tiles * lanes) -> (tiles, N - 1, lanes)
            padded = pack_stream(self.network.pos_embed[1:], hw)
            return np.ascontiguousarray(
                padded.reshape(patches, w.stream_tiles, hw.cols).transpose(1, 0, 2)
            )

        address = self.window.constant("positions", w.stream_tiles * patches * word, make)
        address += (tile * patches + token - 1) * word
        part = stream.part(tile, end - tile)
        words = part.addresses(rows).T  # (tiles, rows): an outer step is a column tile
        self.builder.load(
            "positions", Space.STREAM, words.reshape(-1, 1), address, 1,
            base=part.base * word, count2=end - tile, from2=patches * word, to2=word,
            pieces=rows, piece=word, to_piece=w.stream * word,
            chunk=ceil_log2(min(word, hw.bus_bytes)),
        )  # fmt: skip

    def class_token(self, stream: Rows) -> None:
        """Row 0 of the stream, a constant."""
        hw, size = self.hw, self.words.stream_tiles * self.hw.stream_bytes

        def make():
            from ..units import residual

            n = self.network
            return pack_stream(residual(n.pos_embed[:1], n.cls_token[None], n.embed), hw)

        address = self.window.constant("class token", size, make)
        self.builder.load_rows("class token", 1, stream, address, size, hw.stream_bytes)

    def load_image(self, first: int, last: int, to: Rows) -> None:
        """Rows of patches first..last, each patch a row of acts in the order (channel, y, x)."""
        n, s, hw = self.network, self.shape, self.hw
        side, row = n.patch, to.stride * hw.rows
        address = self.address(IMAGE) + first * side * n.width
        steps = dict(
            from2=side * n.width, from1=n.height * n.width, from0=n.width,
            to2=s.strip * row, to1=side * side, to0=side, to_piece=row, base=to.base * hw.rows,
        )  # fmt: skip
        limit = min(hw.rows, hw.bus_bytes)
        chunk = int(np.gcd.reduce([*steps.values(), side, address, limit]))
        chunk &= -chunk
        self.builder.load(
            IMAGE, Space.ACTS, to.addresses((last - first) * s.strip), address, s.strip,
            flip=1, count2=last - first, count1=n.channels, count0=side, pieces=s.strip,
            piece=side, chunk=ceil_log2(chunk), **steps,
        )  # fmt: skip

    def embed(self, stream, patches, token: int, rows: int, first: int, end: int) -> None:
        """Output channels first..end of the patch embedding."""
        n, w, C = self.network, self.words, self.hw.cols
        p, scaling, add = n.patch_embed, n.patch_embed_requantize, n.embed
        fields = self.linear("patch_embed", p, scaling, w.patch, add)
        made = Made("embed", (), (token, token + rows), (first, end))
        self.builder.gemm(
            "patch_embed", {Unit.EPILOGUE: made}, Epilogue.RESIDUAL, rows, patches,
            stream.part(first // C, ceil(end - first, C)), end - first,
            **self.tiles_from(fields, first), **self.residual_fields(scaling, add),
        )  # fmt: skip

    # --- pieces of a block

    def norm_rows(self, name: str, first: int, last: int, stream: Rows, to: Rows) -> None:
        """LayerNorm of tokens first..last; `stream`, `to`: where `first` lies. The table is loaded
        if need be; what attention will read is spilled if need be."""
        self.load_norm(name)
        made = Made(name, (), (first, last), (0, self.shape.channels))
        self.builder.norm(name, made, self.norm_of(name), last - first, stream, to)
        if name.endswith("norm1") and not self.plan.normed_resident:
            self.spill_rows("normed", first, last, to)

    def spill_rows(self, region: str, first: int, last: int, rows: Rows) -> None:
        """Rows of tokens first..last to memory, each with what pads it to whole beats."""
        self.builder.store_rows(f"{region} to memory", last - first, *self.row(region, first, rows))

    def fetch_rows(self, region: str, first: int, last: int, rows: Rows) -> None:
        self.builder.load_rows(
            f"{region} from memory", last - first, *self.row(region, first, rows)
        )

    def row(self, region: str, first: int, rows: Rows) -> tuple[Rows, int, int, int]:
        """On chip; in memory: address and bytes of a row; bytes of a word."""
        word = self.hw.stream_bytes if rows.space == "stream" else self.hw.rows
        size = rows.stride * word
        whole = replace(rows, words=rows.stride)
        return whole, self.address(region) + first * size, size, word

    # --- attention

    def attention(self, i: int) -> None:
        """Head by head: keys and values into tiles, then for each block of queries q, scores,
        codes, context. The queries of one block that takes all go with the keys."""
        s, plan = self.shape, self.plan
        N = s.tokens
        whole = plan.queries == N
        self.load_exponentials(i)
        for h in range(s.heads):
            for first, last in blocks(N, plan.attention):
                source = self.normed_rows(first, last, h == 0 or plan.attention < N)
                self.qkv(i, h, first, last, source, "kvq" if whole else "kv")
            for first, last in blocks(N, plan.queries):
                if not whole:
                    source = self.normed_rows(first, last, plan.attention < N)
                    self.qkv(i, h, first, last, source, "q")
                self.queries(i, h, first, last)

    def normed_rows(self, first: int, last: int, fetch: bool) -> Rows:
        """Where norm1 of tokens first..last lies; if it is spilled, fetched first."""
        plan = self.plan
        if plan.normed_resident:
            return self.normed.at(first)
        if fetch:
            self.fetch_rows("normed", first, last, self.normed)
        return self.normed if fetch else self.normed.at(first)

    def queries(self, i: int, h: int, first: int, last: int) -> None:
        """Scores, codes and context of head h, tokens first..last."""
        s, plan, w, b = self.shape, self.plan, self.words, self.builder
        p = self.network.blocks[i].attention
        N, D, R, rows = s.tokens, s.head_dim, self.hw.rows, last - first
        context = self.context
        if plan.context_resident:
            context = context.at(first).part(h * w.head, w.head)
        name = f"blocks.{i}.attn"
        made = {
            Unit.EPILOGUE: Made(f"{name}.score", (h,), (first, last), (0, N)),
            Unit.CODES: Made(f"{name}.softmax", (h,), (first, last), (0, N)),
        }
        score, row_norm = p.score, p.softmax.row_norm
        b.gemm(
            f"{name} head {h} scores", made, Epilogue.SCORES, rows,
            replace(self.q, words=w.key_stride), self.codes, N, w.key_stride,
            inner=ceil(N, self.hw.cols), tiles=self.keys,
            tile_inner=w.key_stride, tile_k=1, scalar=1, multiplier=int(score.multiplier),
            shift=int(score.shift), zero=score.zero, row_norm=row_norm,
        )  # fmt: skip
        if h == s.heads - 1 and last == N and i + 1 < s.depth:
            self.load_exponentials(i + 1)
        scaling = p.context
        made = {Unit.EPILOGUE: Made(f"{name}.context", (h,), (first, last), (0, D))}
        b.gemm(
            f"{name} head {h} context", made, Epilogue.CODES8, rows, self.codes, context, D,
            w.codes, inner=w.value_stride, tiles=self.values, tile_inner=1,
            tile_k=w.value_stride, bitshift=1, scalar=1, multiplier=int(scaling.multiplier),
            shift=int(scaling.shift), zero=scaling.zero, row_norm=row_norm,
        )  # fmt: skip
        if not plan.context_resident:
            size, row = w.head * R, w.context * R
            address = self.address("context") + first * row + h * size
            b.store_rows("context to memory", rows, context, address, row, R)

    def qkv(self, i: int, h: int, first: int, last: int, source: Rows, parts: str):
        """One head's keys, values and q, as `parts` says, of tokens first..last."""
        s, w = self.shape, self.words
        p = self.network.blocks[i]
        D, HD, padded = s.head_dim, s.heads * s.head_dim, w.key_stride * self.hw.rows
        q = self.q.at(first if self.plan.queries == s.tokens else 0)
        for part, third, epilogue, columns, to in (
            ("k", 1, Epilogue.KEYS, padded, self.keys),
            ("v", 2, Epilogue.VALUES, D, self.values),
            ("q", 0, Epilogue.CODES8, padded, replace(q, words=w.key_stride)),
        ):
            if part not in parts:
                continue
            start = third * HD + h * D

            def make(start=start, columns=columns):
                weight = np.zeros((columns, s.channels), np.int8)
                weight[:D] = p.qkv.weight[start : start + D]
                bias, multiplier = np.zeros(columns, np.int64), np.zeros(columns, np.int64)
                shift = np.ones(columns, np.int64)  # padding gives 0
                for array, values in (
                    (bias, p.qkv.bias),
                    (multiplier, p.qkv_requantize.multiplier),
                    (shift, p.qkv_requantize.shift),
                ):
                    array[:D] = values[start : start + D]
                return weight, pack_params(bias, multiplier, shift)

            name = f"blocks.{i}.qkv head {h} {part}"
            made = Made(f"blocks.{i}.qkv", (), (first, last), (start, start + D), columns - D)
            self.builder.gemm(
                name, {Unit.EPILOGUE: made}, epilogue, last - first, source, to, columns,
                **self.weights(name, w.normed, make, columns),
                **(dict(first=first) if isinstance(to, Tiles) else {}),
            )  # fmt: skip

    # --- proj and MLP

    def rest(self, i: int) -> None:
        s, plan, w = self.shape, self.plan, self.words
        for first, last in blocks(s.tokens, plan.outer):
            rows = last - first
            stream = self.stream.at(first if plan.stream_resident else 0)
            if plan.context_resident:
                context = self.context.at(first)
            else:
                context = Rows("acts", self.second, w.context, w.context)
                self.fetch_rows("context", first, last, context)
            if not plan.stream_resident:
                self.fetch_rows("stream", first, last, stream)
            self.proj(i, first, last, context, stream)
            normed = self.normed.at(first if plan.normed_resident else 0)
            self.norm_rows(f"blocks.{i}.norm2", first, last, stream, normed)
            if i + 1 < s.depth:
                self.load_norm(f"blocks.{i + 1}.norm1")
            elif first == 0:
                self.load_norm("norm")
            self.load_gelu(i)
            for a, z in blocks(rows, plan.inner):
                self.mlp(i, first + a, first + z, normed.at(a), stream.at(a))
                if i + 1 < s.depth:
                    self.norm_rows(
                        f"blocks.{i + 1}.norm1", first + a, first + z, stream.at(a), normed.at(a)
                    )
                elif first + a == 0:
                    self.norm_rows("norm", 0, 1, stream, self.final)
            if i + 1 < s.depth and not plan.stream_resident:
                self.spill_rows("stream", first, last, stream)
        if i + 1 < s.depth:
            self.load_norm(f"blocks.{i + 1}.norm2")

    def head(self) -> None:
        """The class token's logits, two int16 each, go through the stream memory to the window: as
        many column tiles at once as it holds."""
        n, s, hw = self.network, self.shape, self.hw
        fields = self.linear("head", n.head, n.head_requantize, self.words.normed)
        start, word = self.address(LOGITS), hw.stream_bytes
        for first, end in self.column_blocks(s.classes, hw.stream // 2):
            words = whole_beats(ceil(2 * (end - first), hw.cols), word, hw)
            to = Rows("stream", 0, words, words)
            made = {Unit.EPILOGUE: Made("head", (), (0, 1), (first, end))}
            self.builder.gemm(
                "head", made, Epilogue.LOGITS, 1, self.final, to, end - first,
                **self.tiles_from(fields, first),
            )  # fmt: skip
            address = start + LOGIT_BYTES * first
            self.builder.store_rows("logits to memory", 1, to, address, words * word, word)

    def proj(self, i: int, first: int, last: int, context: Rows, stream: Rows) -> None:
        s, w = self.shape, self.words
        p = self.network.blocks[i]
        D, padded = s.head_dim, w.head * self.hw.rows

        def make():  # heads lie padded in the context
            out = len(p.proj.weight)
            weight = np.zeros((out, s.heads, padded), np.int8)
            weight[:, :, :D] = p.proj.weight.reshape(out, s.heads, D)
            scaling, add = p.proj_requantize, p.residual1
            params = pack_params(
                p.proj.bias, scaling.multiplier, scaling.shift, add.x_factor, add.factor
            )
            return weight.reshape(out, -1), params

        name = f"blocks.{i}.proj"
        made = Made(f"blocks.{i}.residual1", (), (first, last), (0, s.channels))
        self.builder.gemm(
            name, {Unit.EPILOGUE: made}, Epilogue.RESIDUAL, last - first,
            replace(context, words=w.context), stream, s.channels,
            **self.weights(name, w.context, make, s.channels),
            **self.residual_fields(p.proj_requantize, p.residual1),
        )  # fmt: skip

    def mlp(self, i: int, first: int, last: int, normed: Rows, stream: Rows) -> None:
        s, w, b = self.shape, self.words, self.builder
        p, rows = self.network.blocks[i], last - first
        linear = p.gelu.linear
        fields = self.linear(f"blocks.{i}.fc1", p.fc1, p.fc1_requantize, w.normed)
        for begin, end in self.column_blocks(s.hidden):
            word = begin // self.hw.rows
            words = (end // self.hw.rows if end < s.hidden else w.hidden) - word
            made = Made(f"blocks.{i}.gelu", (), (first, last), (begin, end))
            b.gemm(
                f"blocks.{i}.fc1", {Unit.EPILOGUE: made}, Epilogue.GELU, rows, normed,
                self.hidden.part(word, words), end - begin, **self.tiles_from(fields, begin),
                x_multiplier=int(linear.multiplier), add_shift=int(linear.shift),
                add_zero=linear.zero,
            )  # fmt: skip
        if i + 1 < s.depth and last == s.tokens:
            self.load_gelu(i + 1)
        made = Made(f"blocks.{i}.residual2", (), (first, last), (0, s.channels))
        b.gemm(
            f"blocks.{i}.fc2", {Unit.EPILOGUE: made}, Epilogue.RESIDUAL, rows, self.hidden, stream,
            s.channels,
            **self.linear(f"blocks.{i}.fc2", p.fc2, p.fc2_requantize, w.hidden, p.residual2),
            **self.residual_fields(p.fc2_requantize, p.residual2),
        )  # fmt: skip
