"""The MAC array: R x C weight-stationary, one R-long dot product per column and cycle.

Arithmetic: `fqvit_hw.units.mac_array`, docs/datapath.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import ACC, CODE, INT8, OPERAND

from ..parts.accumulator import Accumulator, AccumulatorConfig
from ..parts.checks import check_fields
from ..parts.dot import Dot
from ..parts.packed import packed
from ..parts.tile_ring import TileRing, TileRingConfig


@dataclass(frozen=True)
class MacArrayConfig:
    """rows, cols: the array; tiles: resident weight tiles; depth: rows of accumulators.

    bias: accumulator rows start from the stream `bias`; multiply, bitshift: the modes built in;
    shifters: BitShift by a shifter in every cell, not by its multiplier;
    pairs: a multiplier of 27 x 18 bits serves two columns: without bitshift, weights are int8;
    load: a beat of `weights` is a row or a column of a tile; group: most tiles loaded at once.
    """

    rows: int
    cols: int
    tiles: int = 2
    depth: int = 1
    bias: bool = False
    multiply: bool = True
    bitshift: bool = True
    shifters: bool = False
    pairs: bool = False
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
        if self.pairs and self.bitshift:
            raise ValueError(
                "MacArrayConfig.pairs: two products with powers of two do not fit a multiplier of "
                "27 x 18 bits: expected bitshift False"
            )
        if self.dot.sum_width > ACC.width:
            raise ValueError(
                f"MacArrayConfig.rows: {self.rows} terms of {self.dot.term_width} bits need "
                f"{self.dot.sum_width} bits, accumulators have {ACC.width}"
            )

    @property
    def both(self) -> bool:
        return self.multiply and self.bitshift

    @property
    def weight(self) -> int:
        """Bits of a weight."""
        return INT8.width if self.pairs else OPERAND.width

    @property
    def dot(self) -> Dot:
        return Dot(
            self.rows, self.cols, weight=self.weight, multiply=self.multiply,
            bitshift=self.bitshift, shifters=self.shifters, pairs=self.pairs,
        )  # fmt: skip

    @property
    def ring(self) -> TileRingConfig:
        lanes, width = (self.rows, self.cols) if self.load == "rows" else (self.cols, self.rows)
        return TileRingConfig(lanes, width, self.tiles, self.group, self.weight)

    @property
    def accumulator(self) -> AccumulatorConfig:
        return AccumulatorConfig(self.cols, self.depth, self.dot.sum_width, self.bias)

    @property
    def stages(self) -> int:
        """The accumulator registers what the last level of the adder tree delivers."""
        return self.dot.stages

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

    With shift = 1, or in an array with bitshift only, the low 4 bits of data[r] are an attention
    code of lis4, and the term is weight[r][c] << (14 - code), 0 for code 15: by a shifter, or by
    the cell's multiplier, whose operand is then 2^(14 - code).

    Parameters
    ----------
    parameters : MacArrayConfig
        rows and columns, resident tiles, accumulators, modes

    Members
    -------
    weights : In, stream of {data, last}
        tiles in order, `rows` beats of int9 x cols each, row 0 first, `last` on a tile's last beat
        (load "columns": `cols` beats of int9 x rows; with pairs of int8); for an early `last` see
        `rtl.parts.tile_ring`
    group : In, range
        tiles loaded at once, see `rtl.parts.tile_ring`; with parameters.group > 1 only
    i : In, stream of {data, tile, release, shift, addr, first, last}
        data: int9 x rows; tile: counted from the oldest resident tile; release: 1 after this beat
        frees all tiles up to and including this one; shift: if both modes are built; addr, first,
        last: see `rtl.parts.accumulator`
    bias : In, stream of {data}
        int32 x cols, what rows start from; with parameters.bias only
    o : Out, stream of {data}
        int32 x cols, a row for every beat with `last`

    Latency
    -------
    `latency` cycles from a beat with `last` to its row on `o`: the adder tree, then the
    accumulator.

    Throughput
    ----------
    A beat every cycle, whatever tiles and accumulator rows the beats name.

    Back-pressure
    -------------
    Stalls as a whole while `o` is not taken. A beat of `i` waits until its tile is loaded,
    `weights` until the ring of resident tiles has room.
    """

    def __init__(self, parameters: MacArrayConfig):
        self.parameters = parameters
        ports = {
            "weights": In(stream.Signature(parameters.ring.i)),
            "i": In(stream.Signature(parameters.i)),
            "o": Out(stream.Signature(parameters.accumulator.o)),
        }
        if parameters.bias:
            ports["bias"] = In(stream.Signature(parameters.accumulator.o))
        if parameters.group > 1:
            ports["group"] = In(range(parameters.group + 1))
        super().__init__(ports)

    @property
    def latency(self) -> int:
        return self.parameters.latency

    def elaborate(self, platform):
        m = Module()
        c = self.parameters
        m.submodules.ring = ring = TileRing(c.ring)
        m.submodules.accumulator = accumulator = Accumulator(c.accumulator)
        wiring.connect(m, wiring.flipped(self.weights), ring.i)
        wiring.connect(m, accumulator.o, wiring.flipped(self.o))
        if c.bias:
            wiring.connect(m, wiring.flipped(self.bias), accumulator.bias)
        if c.group > 1:
            m.d.comb += ring.group.eq(self.group)

        # a beat enters the pipeline if its tile is there; all of it moves as the accumulator does
        beat = self.i.payload
        advance, valid = accumulator.i.ready, Signal(c.stages)
        m.d.comb += [
            self.i.ready.eq(advance & ring.resident),
            accumulator.i.valid.eq(valid[-1]),
            ring.offset.eq(beat.tile),
            ring.release.eq(beat.release),
            ring.take.eq(self.i.valid & self.i.ready),
            ring.advance.eq(advance),
        ]
        with m.If(advance):
            m.d.sync += valid.eq(Cat(self.i.valid & ring.resident, valid))
        # what the accumulator is told travels beside the sums
        told = Cat(beat[name] for name in c.accumulator.control)
        control = [told] + [Signal(len(told), name=f"control{n}") for n in range(c.stages)]
        with m.If(advance):
            m.d.sync += [after.eq(before) for before, after in pairwise(control)]
        shift = beat.shift if c.both else Const(int(c.bitshift))
        codes = [row[: CODE.width] for row in beat.data]
        tile = [
            [ring.tile[r][n] if c.load == "rows" else ring.tile[n][r] for n in range(c.cols)]
            for r in range(c.rows)
        ]
        sums = c.dot.sums(m, advance, beat.data, codes, shift, tile)
        # the fields in the order of their layout: data, then control
        m.d.comb += accumulator.i.payload.eq(Cat(packed(sums, c.dot.sum_width), control[-1]))
        return m
