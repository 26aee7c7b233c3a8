"""The MAC array: R x C weight-stationary, one R-long dot product per column and cycle.

Arithmetic: `fqvit_hw.units.mac_array`, docs/datapath.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import ACC, BITSHIFT_FRACTION, CODE, OPERAND, ZERO_CODE, ceil_log2

from .accumulator import Accumulator, AccumulatorConfig
from .checks import check_fields
from .packed import packed
from .pipeline import pipeline
from .tile_ring import TileRing, TileRingConfig

AMOUNT_WIDTH = CODE.width + 1  # shift amounts 0..14; 31 (-1) shifts all bits out: zero
FAN_IN = 4  # terms summed between two registers of the adder tree


@dataclass(frozen=True)
class MacArrayConfig:
    """rows, cols: the array; tiles: resident weight tiles; depth: rows of accumulators.

    bias: accumulator rows start from the stream `bias`; multiply, bitshift: the modes built in;
    load: a beat of `weights` is a row or a column of a tile; group: most tiles loaded at once.
    """

    rows: int
    cols: int
    tiles: int = 2
    depth: int = 1
    bias: bool = False
    multiply: bool = True
    bitshift: bool = True
    load: str = "rows"
    group: int = 1

    def __post_init__(self):
        check_fields(self)
        if self.load not in ("rows", "columns"):
            raise ValueError(f"MacArrayConfig.load: expected rows or columns, got {self.load!r}")
        if not (self.multiply or self.bitshift):
            raise ValueError("MacArrayConfig: expected multiply or bitshift, got neither")
        if self.group > self.tiles:
            raise ValueError(
                f"MacArrayConfig.group: expected at most tiles = {self.tiles}, got {self.group}"
            )
        if self.sum_width > ACC.width:
            raise ValueError(
                f"MacArrayConfig.rows: {self.rows} terms of {self.term_width} bits need "
                f"{self.sum_width} bits, accumulators have {ACC.width}"
            )

    @property
    def both(self) -> bool:
        return self.multiply and self.bitshift

    @property
    def term_width(self) -> int:
        """(-2^8) * (-2^8) needs 18 bits; -2^8 << 14 needs 9 + 14."""
        if self.bitshift:
            return OPERAND.width + BITSHIFT_FRACTION
        return 2 * OPERAND.width

    @property
    def sum_width(self) -> int:
        return self.term_width + ceil_log2(self.rows)

    @property
    def ring(self) -> TileRingConfig:
        lanes, width = (self.rows, self.cols) if self.load == "rows" else (self.cols, self.rows)
        return TileRingConfig(lanes, width, self.tiles, self.group)

    @property
    def accumulator(self) -> AccumulatorConfig:
        return AccumulatorConfig(self.cols, self.depth, self.sum_width, self.bias)

    @property
    def stages(self) -> int:
        """Operands and tile, terms, and the adder tree without its last level.

        The accumulator registers what the last level delivers.
        """
        levels, terms = 0, self.rows
        while terms > 1:
            levels, terms = levels + 1, -(-terms // FAN_IN)
        return 2 + max(levels - 1, 0)

    @property
    def latency(self) -> int:
        return self.stages + Accumulator.latency

    @property
    def i(self) -> data.StructLayout:
        fields = {
            "data": data.ArrayLayout(signed(OPERAND.width), self.rows),
            "tile": range(max(self.tiles, 2)),  # no field of width 0
            "release": 1,
        }
        if self.both:
            fields["shift"] = 1
        return data.StructLayout(fields | self.accumulator.control)


class MacArray(wiring.Component):
    """For every beat: row[addr][c] (+)= sum over r of data[r] * weight[r][c], all columns at once.

    Members:
    - `weights`: stream {data: int9 x cols, last}: tiles in order, `rows` beats each, row 0 first,
      `last` on a tile's last beat (columns: `cols` beats of int9 x rows). Ready while the ring of
      resident tiles has room; for an early `last` and `group` see `rtl.tile_ring`.
    - `i`: stream {data: int9 x rows, tile: counted from the oldest resident tile, release: 1 after
      this beat frees all tiles up to and including this one, shift (if both modes are built),
      addr, first, last (see `rtl.accumulator`)}. A beat waits until its tile is loaded.
      shift = 1, or an array with bitshift only: the low 4 bits of data[r] are an attention code,
      and the term is weight[r][c] << (14 - code), 0 for code 15. No multiplier takes part.
    - `bias` (config.bias only), `o`: streams {data: int32 x cols}, see `rtl.accumulator`.

    A beat every cycle whatever tiles and accumulator rows the beats name; stalls as a whole under
    back pressure. `latency`: from a beat with `last` to its row on `o`.
    """

    def __init__(self, config: MacArrayConfig):
        self.config = config
        ports = {
            "weights": In(stream.Signature(config.ring.i)),
            "i": In(stream.Signature(config.i)),
            "o": Out(stream.Signature(config.accumulator.o)),
        }
        if config.bias:
            ports["bias"] = In(stream.Signature(config.accumulator.o))
        if config.group > 1:
            ports["group"] = In(range(config.group + 1))
        super().__init__(ports)

    @property
    def latency(self) -> int:
        return self.config.latency

    def elaborate(self, platform):
        m = Module()
        c = self.config
        m.submodules.ring = ring = TileRing(c.ring)
        m.submodules.accumulator = accumulator = Accumulator(c.accumulator)
        wiring.connect(m, wiring.flipped(self.weights), ring.i)
        wiring.connect(m, accumulator.o, wiring.flipped(self.o))
        if c.bias:
            wiring.connect(m, wiring.flipped(self.bias), accumulator.bias)
        if c.group > 1:
            m.d.comb += ring.group.eq(self.group)

        # a beat enters the pipeline if its tile is there
        beat = self.i.payload
        gated = stream.Signature(c.i).create(path=("gated",))
        advance = pipeline(m, gated, accumulator.i, c.stages)
        m.d.comb += [
            gated.valid.eq(self.i.valid & ring.resident),
            self.i.ready.eq(gated.ready & ring.resident),
            ring.offset.eq(beat.tile),
            ring.release.eq(beat.release),
            ring.take.eq(self.i.valid & self.i.ready),
            ring.advance.eq(advance),
        ]
        # what the accumulator is told travels beside the sums
        told = Cat(beat[name] for name in c.accumulator.control)
        control = [told] + [Signal(len(told), name=f"control{n}") for n in range(c.stages)]
        with m.If(advance):
            m.d.sync += [after.eq(before) for before, after in pairwise(control)]
        sums = self._tree(m, advance, self._terms(m, advance, ring.tile))
        # the fields in the order of their layout: data, then control
        m.d.comb += accumulator.i.payload.eq(Cat(packed(sums, c.sum_width), control[-1]))
        return m

    def _terms(self, m: Module, advance, tile) -> list[list]:
        """Two registers: operands (beside the tile, which its memory delivers), and terms.

        The mode that is not wanted sees operands that give 0, so that an OR joins both and half of
        the logic rests.
        """
        c = self.config
        beat = self.i.payload
        shift = beat.shift if c.both else Const(int(c.bitshift))
        # the factor as wide as makes the product just as wide as a term (copies of the sign bit)
        factor_width = c.term_width - OPERAND.width
        factor = Signal(data.ArrayLayout(signed(factor_width), c.rows), reset_less=True)
        amount = Signal(data.ArrayLayout(AMOUNT_WIDTH, c.rows), reset_less=True)
        amounts = [
            Mux(row[: CODE.width] == ZERO_CODE, -1, BITSHIFT_FRACTION - row[: CODE.width])
            for row in beat.data
        ]
        with m.If(advance):
            m.d.sync += [
                factor.eq(Mux(shift, 0, packed(beat.data, factor_width))),
                amount.eq(Mux(shift, packed(amounts, AMOUNT_WIDTH), -1)),
            ]
        terms = Signal(
            data.ArrayLayout(data.ArrayLayout(signed(c.term_width), c.rows), c.cols),
            reset_less=True,
        )
        values = []
        for column in range(c.cols):
            for r in range(c.rows):
                weight = tile[r][column] if c.load == "rows" else tile[column][r]
                product = factor[r] * weight
                shifted = (weight << amount[r])[: c.term_width].as_signed()
                joined = product | shifted
                values.append(joined if c.both else product if c.multiply else shifted)
        with m.If(advance):
            m.d.sync += terms.eq(packed(values, c.term_width))
        return [[terms[column][r] for r in range(c.rows)] for column in range(c.cols)]

    def _tree(self, m: Module, advance, columns: list[list]) -> list:
        """Sum every column's terms, FAN_IN at a time, a register between two levels."""
        level = 0
        while True:
            groups = [
                [balanced_sum(terms[n : n + FAN_IN]) for n in range(0, len(terms), FAN_IN)]
                for terms in columns
            ]
            if len(groups[0]) == 1:
                return [group[0] for group in groups]
            width = max(len(g) for g in groups[0])
            layout = data.ArrayLayout(signed(width), len(groups[0]))
            partial = Signal(
                data.ArrayLayout(layout, self.config.cols), name=f"partial{level}", reset_less=True
            )
            with m.If(advance):
                m.d.sync += partial.eq(
                    packed((value for group in groups for value in group), width)
                )
            columns = [[partial[n][k] for k in range(len(groups[0]))] for n in range(len(groups))]
            level += 1


def balanced_sum(terms: list):
    """The sum of `terms` as a balanced tree: log2(n) more bits, log2(n) adders deep."""
    if len(terms) == 1:
        return terms[0]
    half = (len(terms) + 1) // 2
    return balanced_sum(terms[:half]) + balanced_sum(terms[half:])
