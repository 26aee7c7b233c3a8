"""One attention head after another: Q x K^T, requantize, Log-Int-Softmax, BitShift attention x V.

    q -> replay -> array (K) -> requantize -> softmax -> replay -> array (V) -> row norm
                    ^  ^ bias                   ^ mask              ^           -> requantize
                    k                                               v           -> o

Arithmetic: `fqvit_hw.units.attention`, docs/datapath.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.attention_codes import LIS4, UNIFORM8, AttentionCodes
from fqvit_hw.formats import (
    ACC,
    CODE,
    INT8,
    MAX_TOKENS,
    MULTIPLIER,
    OPERAND,
    SHIFT,
    ZERO_CODE,
)

from ..parts.checks import check_fields, check_modes
from ..parts.code_values import MODE_BITS, is_mode, value_of
from ..parts.packed import packed
from ..parts.position import inside, position
from ..parts.replay import Replay, ReplayConfig
from ..parts.row_norm import RowNorm, RowNormConfig, sum_bits
from .mac_array import MacArray, MacArrayConfig
from .requantize import Requantize, RequantizeConfig
from .softmax import Softmax, SoftmaxConfig


@dataclass(frozen=True)
class AttentionConfig:
    """rows: channels a beat of q, k, v and o; cols: keys a beat of scores.

    max_tokens, head_dim: the largest; bias: a bias per score; modes: attention modes built in;
    shifters: BitShift of lis4 by shifters, not by multipliers
    """

    rows: int
    cols: int
    max_tokens: int
    head_dim: int
    bias: bool = False
    modes: tuple[str, ...] = ("max4",)
    shifters: bool = False

    def __post_init__(self):
        check_fields(self)
        check_modes(self)
        if self.max_tokens > MAX_TOKENS:
            raise ValueError(
                f"AttentionConfig.max_tokens: expected at most {MAX_TOKENS}, got {self.max_tokens}"
            )

    def d_tiles(self, head_dim: int) -> int:
        return -(-head_dim // self.rows)

    def k_tiles(self, tokens: int) -> int:
        return -(-tokens // self.cols)

    @property
    def tiles(self) -> int:
        """Two heads: one loads while the other is used."""
        return 2 * self.d_tiles(self.head_dim) * self.k_tiles(self.max_tokens)

    @property
    def score_array(self) -> MacArrayConfig:
        """K stands in it: a tile has `rows` channels of `cols` keys, loaded key by key."""
        return MacArrayConfig(
            self.rows, self.cols, self.tiles, bias=self.bias, bitshift=False,
            load="columns", group=self.d_tiles(self.head_dim),
        )  # fmt: skip

    @property
    def context_array(self) -> MacArrayConfig:
        """V stands in it: a tile has `cols` keys with `rows` channels of each."""
        return MacArrayConfig(
            self.cols, self.rows, self.tiles, group=self.d_tiles(self.head_dim),
            multiply=bool(self.multiplied), bitshift=self.bitshift, shifters=self.shifters,
        )  # fmt: skip

    @property
    def multiplied(self) -> tuple[AttentionCodes, ...]:
        """The modes whose values are operands of the array."""
        return tuple(codes for codes in self.softmax.built if codes is not LIS4)

    @property
    def bitshift(self) -> bool:
        return LIS4 in self.softmax.built

    @property
    def softmax(self) -> SoftmaxConfig:
        return SoftmaxConfig(self.cols, self.max_tokens, self.modes)

    @property
    def row_norm(self) -> RowNormConfig:
        softmax = self.softmax
        bits, wide = sum_bits(softmax.built, self.max_tokens), UNIFORM8 in softmax.built
        return RowNormConfig(self.rows, self.head_dim, bits, wide)

    @property
    def layer(self) -> data.StructLayout:
        requantize = data.StructLayout(
            {
                "multiplier": unsigned(MULTIPLIER.width),
                "shift": unsigned(SHIFT.width),
                "zero": signed(INT8.width),
            }
        )
        fields = {
            "tokens": range(self.max_tokens + 1),
            "head_dim": range(self.head_dim + 1),
            "score": requantize,
            "context": requantize,
            "mode": MODE_BITS,
            "row_norm": 1,
            "mask": 1,
        }
        return data.StructLayout(fields | ({"bias": 1} if self.bias else {}))

    @property
    def row(self) -> data.StructLayout:
        return data.StructLayout({"data": data.ArrayLayout(signed(INT8.width), self.rows)})

    @property
    def o(self) -> data.StructLayout:
        return data.StructLayout({"data": self.row["data"].shape, "last": 1})

    @property
    def mask(self) -> data.StructLayout:
        return data.StructLayout({"data": data.ArrayLayout(1, self.cols)})

    def cycles_per_row(self, tokens: int, head_dim: int) -> int:
        """Both arrays take d_tiles * k_tiles cycles a query; the softmax has a least interval."""
        work = self.d_tiles(head_dim) * self.k_tiles(tokens)
        return max(work, self.softmax.cycles_per_row(tokens))

    def score_latency(self, tokens: int) -> int:
        """From a query's last beat into the score array to its first context beat on `o`."""
        k_tiles = self.k_tiles(tokens)
        last_score = self.score_array.latency + Requantize.latency
        last_code = self.softmax.latency(tokens) + k_tiles - 1
        # the first sum needs all codes; its normalization needs the reciprocal
        first_sum = Replay.latency + k_tiles - 1 + self.context_array.latency
        normalized = max(first_sum, self.softmax.rows_latency) + RowNorm.latency
        return last_score + last_code + normalized + Requantize.latency

    def latency(self, tokens: int, head_dim: int) -> int:
        """From a query's last beat on `q` to its first context beat, keys and values in place."""
        beats = self.d_tiles(head_dim) * self.k_tiles(tokens)
        return Replay.latency + beats - 1 + self.score_latency(tokens)


class Attention(wiring.Component):
    """softmax(Q x K^T) x V in codes, heads back to back: the next head's K and V load meanwhile.

    Parameters
    ----------
    parameters : AttentionConfig
        shape of the arrays, largest head, options

    Members
    -------
    config : In, AttentionConfig.layer
        held still over all heads of a layer: tokens and head_dim from 1 to the largest built, score
        and context {multiplier, shift, zero}, mode (its place in attention_codes.MODES), row_norm,
        mask (1: take masks),
        bias (where built; 1: take biases)
    table : In, stream of {addr, data}
        of the softmax
    q, k, v : In, stream of {data}
        int8 x rows: tokens rows of head_dim elements a head
    bias : In, stream of {data}
        int32 x cols, a row of tokens elements a query, left alone unless the layer wants it; with
        parameters.bias only
    mask : In, stream of {data}
        bit x cols, the same
    o : Out, stream of {data, last}
        int8 x rows: context rows of head_dim elements
    error : Out, 1
        sticky until reset: a query was masked everywhere

    Latency
    -------
    latency(tokens, head_dim): from a query's last beat on `q` to its first context beat, keys and
    values in place.

    Throughput
    ----------
    cycles_per_row(tokens, head_dim): a query takes ceil(head_dim / rows) * ceil(tokens / cols)
    cycles, at least Softmax.cycles_per_row(tokens), without bubbles between queries or heads once K
    and V of the next head are in. Both arrays are then busy in every cycle.

    Back-pressure
    -------------
    q, k and v must be fed side by side: each waits for no more than one head of the others.
    """

    def __init__(self, parameters: AttentionConfig):
        self.parameters = parameters
        self.latency, self.cycles_per_row = parameters.latency, parameters.cycles_per_row
        row = In(stream.Signature(parameters.row))
        ports = {
            "config": In(parameters.layer),
            "table": In(stream.Signature(parameters.softmax.table)),
            "q": row,
            "k": row,
            "v": row,
            "mask": In(stream.Signature(parameters.mask)),
            "o": Out(stream.Signature(parameters.o)),
            "error": Out(1),
        }
        if parameters.bias:
            ports["bias"] = In(stream.Signature(parameters.score_array.accumulator.o))
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        c, layer = self.parameters, self.config
        d_tiles = Signal(range(c.d_tiles(c.head_dim) + 1))  # ceil(head_dim / rows), no division
        starts = range(0, c.head_dim, c.rows)
        m.d.comb += d_tiles.eq(sum(layer.head_dim > start for start in starts))

        codes_in = self._scores(m, d_tiles)
        m.submodules.softmax = softmax = Softmax(c.softmax)
        wiring.connect(m, wiring.flipped(self.table), softmax.table)
        m.d.comb += [
            softmax.config.eq(Cat(layer.tokens, layer.mode, layer.row_norm)),
            self.error.eq(softmax.error),
        ]
        # a beat of scores waits for its beat of masks
        ready = Signal()
        m.d.comb += [
            ready.eq(self.mask.valid | ~layer.mask),
            softmax.i.valid.eq(codes_in.valid & ready),
            softmax.i.payload.eq(
                Cat(codes_in.payload.data, Mux(layer.mask, self.mask.payload.data, 0))
            ),
            codes_in.ready.eq(softmax.i.ready & ready),
            self.mask.ready.eq(layer.mask & codes_in.valid & softmax.i.ready),
        ]
        self._context(m, d_tiles, softmax)
        return m

    def _scores(self, m: Module, d_tiles: Value):
        """Q x K^T, requantized: a stream of scores. Order: query, key tile, channel tile."""
        c, layer = self.parameters, self.config
        m.submodules.queries = queries = Replay(
            ReplayConfig(c.rows, INT8.width, c.head_dim, c.cols, c.max_tokens)
        )
        m.submodules.score_array = array = MacArray(c.score_array)
        self._load(m, "key", self.k, array, d_tiles)
        tile = Signal.like(array.i.payload.tile, name="score_tile")
        beat, step = queries.o.payload, Signal(name="score_step")
        last_query = position(m, "query", layer.tokens, 1, step & beat.done).last
        operands = [Mux(beat.inside[n], value.as_signed(), 0) for n, value in enumerate(beat.data)]
        m.d.comb += [
            queries.length.eq(layer.head_dim),
            queries.steps.eq(layer.tokens),
            queries.i.payload.eq(self.q.payload.data),
            queries.i.valid.eq(self.q.valid),
            self.q.ready.eq(queries.i.ready),
            step.eq(queries.o.valid & queries.o.ready),
            array.i.valid.eq(queries.o.valid),
            queries.o.ready.eq(array.i.ready),
            array.i.payload.eq(
                Cat(packed(operands, OPERAND.width), tile, beat.done & last_query,
                    Const(0, 1), beat.first, beat.last)
            ),
        ]  # fmt: skip
        with m.If(step):  # the tiles lie in the order in which they are used
            m.d.sync += tile.eq(Mux(beat.done, 0, tile + 1))
        if c.bias:
            m.d.comb += [
                array.bias.valid.eq(self.bias.valid | ~layer.bias),
                array.bias.payload.eq(Mux(layer.bias, self.bias.payload.data, 0)),
                self.bias.ready.eq(array.bias.ready & layer.bias),
            ]
        m.submodules.score = score = Requantize(RequantizeConfig(c.cols))
        self._requantize(m, array.o, score, layer.score)
        return score.o

    def _context(self, m: Module, d_tiles: Value, softmax: Softmax) -> None:
        """Attention x V, normalized and requantized. Order: query, channel tile, key tile."""
        c, layer = self.parameters, self.config
        m.submodules.codes = codes = Replay(
            # a row's sums wait for its reciprocal, meanwhile codes of the next rows come
            ReplayConfig(c.cols, c.softmax.code_bits, c.max_tokens, c.rows, c.head_dim, rows=4)
        )
        m.submodules.context_array = array = MacArray(c.context_array)
        self._load(m, "value", self.v, array, d_tiles)
        tile = Signal.like(array.i.payload.tile, name="context_tile")
        channels = Signal.like(tile, name="channels")  # the channel tile
        beat, step = codes.o.payload, Signal(name="context_step")
        last_query = position(m, "row", layer.tokens, 1, step & beat.done).last
        lis4 = is_mode(layer.mode, LIS4) & c.bitshift
        operands = []
        for n, code in enumerate(beat.data):
            value = code
            if c.multiplied:  # the code itself in lis4
                value = Mux(
                    lis4, code[: CODE.width], value_of(m, code, layer.mode, c.multiplied, f"key{n}")
                )
            operands.append(Mux(beat.inside[n], value, Mux(lis4, ZERO_CODE, 0)))
        shift = [lis4] if c.context_array.both else []
        m.d.comb += [
            codes.length.eq(layer.tokens),
            codes.steps.eq(layer.head_dim),
            codes.i.payload.eq(softmax.o.payload.data),
            codes.i.valid.eq(softmax.o.valid),
            softmax.o.ready.eq(codes.i.ready),
            step.eq(codes.o.valid & codes.o.ready),
            array.i.valid.eq(codes.o.valid),
            codes.o.ready.eq(array.i.ready),
            array.i.payload.eq(
                Cat(packed(operands, OPERAND.width), tile, beat.done & last_query,
                    *shift, Const(0, 1), beat.first, beat.last)
            ),
        ]  # fmt: skip
        with m.If(step):
            with m.If(beat.done):
                m.d.sync += [tile.eq(0), channels.eq(0)]
            with m.Elif(beat.last):
                m.d.sync += [tile.eq(channels + 1), channels.eq(channels + 1)]
            with m.Else():  # the same channels of the next keys
                m.d.sync += tile.eq(tile + d_tiles)

        m.submodules.norm = norm = RowNorm(c.row_norm)
        wiring.connect(m, array.o, norm.i)
        wiring.connect(m, softmax.rows, norm.rows)
        m.d.comb += norm.length.eq(layer.head_dim)
        if c.row_norm.wide:
            m.d.comb += norm.wide.eq(is_mode(layer.mode, UNIFORM8))
        m.submodules.context = context = Requantize(RequantizeConfig(c.rows))
        self._requantize(m, norm.o, context, layer.context)
        _, last, left = position(m, "out", layer.head_dim, c.rows, self.o.valid & self.o.ready)
        real = inside(left, c.rows)
        values = [Mux(real[n], value, 0) for n, value in enumerate(context.o.payload.data)]
        m.d.comb += [
            self.o.valid.eq(context.o.valid),
            context.o.ready.eq(self.o.ready),
            self.o.payload.eq(Cat(packed(values, INT8.width), last)),
        ]

    def _load(self, m: Module, name: str, source, array: MacArray, d_tiles: Value) -> None:
        """Rows of `source` become tiles: a group of d_tiles for every `cols` tokens or the rest."""
        c, layer = self.parameters, self.config
        step = Signal(name=f"{name}_step")
        row_end = position(m, f"{name}_channel", layer.head_dim, c.rows, step).last
        last_row = position(m, f"{name}_row", layer.tokens, 1, step & row_end).last
        lane = Signal(range(max(c.cols, 2)), name=f"{name}_lane")
        group_end = Signal(name=f"{name}_group_end")
        m.d.comb += [
            group_end.eq(row_end & (last_row | (lane == c.cols - 1))),
            step.eq(source.valid & source.ready),
            array.weights.valid.eq(source.valid),
            source.ready.eq(array.weights.ready),
            array.weights.payload.eq(Cat(packed(source.payload.data, OPERAND.width), group_end)),
        ]
        with m.If(step & row_end):
            m.d.sync += lane.eq(Mux(group_end, 0, lane + 1))
        if c.score_array.group > 1:
            m.d.comb += array.group.eq(d_tiles)

    def _requantize(self, m: Module, accumulators, requantize: Requantize, constants) -> None:
        """Accumulators and one layer-wide multiplier, shift and zero point into `requantize`."""
        scale = Cat(constants.multiplier, constants.shift)
        lanes = [Cat(acc, scale) for acc in accumulators.payload.data]
        width = ACC.width + MULTIPLIER.width + SHIFT.width
        m.d.comb += [
            requantize.i.valid.eq(accumulators.valid),
            accumulators.ready.eq(requantize.i.ready),
            requantize.i.payload.eq(Cat(packed(lanes, width), constants.zero)),
        ]
