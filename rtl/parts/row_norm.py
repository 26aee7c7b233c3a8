"""Row normalization: a row of context accumulators times the reciprocal of its row of codes.

Arithmetic: `fqvit_hw.units.attention.normalize_rows`, docs/datapath.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import ACC, BITSHIFT_ACC, RECIPROCAL, ROW_NORM_SHIFT

from .packed import packed
from .pipeline import pipeline
from .position import position

# |acc| <= 2^22 times a reciprocal below 2^17
PRODUCT_WIDTH = BITSHIFT_ACC.width + RECIPROCAL.width


@dataclass(frozen=True)
class RowNormConfig:
    """lanes: accumulators a beat; max_length: longest row; wide: can let 32 bits through."""

    lanes: int
    max_length: int
    wide: bool = False

    @property
    def i(self) -> data.StructLayout:
        return data.StructLayout({"data": data.ArrayLayout(signed(ACC.width), self.lanes)})

    @property
    def rows(self) -> data.StructLayout:
        return data.StructLayout({"reciprocal": unsigned(RECIPROCAL.width)})


class RowNorm(wiring.Component):
    """rshift_round(acc * reciprocal, 15), acc in 23 bits; the reciprocal 2^15 changes nothing.

    Parameters
    ----------
    parameters : RowNormConfig
        lanes, longest row, whether 32 bits can pass

    Members
    -------
    length : In, range
        accumulators of a row; holds still
    wide : In, 1
        accumulators have 32 bits and pass as they are; with parameters.wide only
    i : In, stream of {data}
        int32 x lanes
    rows : In, stream of {reciprocal}
        one beat a row, taken with the row's last beat
    o : Out, stream of {data}
        int32 x lanes

    Latency
    -------
    2, from a beat on `i` to the same one on `o`.

    Throughput
    ----------
    A beat every cycle once the reciprocal is there.

    Back-pressure
    -------------
    Stalls as a whole while `o` is not taken; `i` waits for the row's reciprocal.
    """

    latency = 2

    def __init__(self, parameters: RowNormConfig):
        self.parameters = parameters
        ports = {
            "length": In(range(parameters.max_length + 1)),
            "i": In(stream.Signature(parameters.i)),
            "rows": In(stream.Signature(parameters.rows)),
            "o": Out(stream.Signature(parameters.i)),
        }
        if parameters.wide:
            ports["wide"] = In(1)
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        c = self.parameters
        gated = stream.Signature(1).create()  # pipeline() joins handshakes only
        advance = pipeline(m, gated, self.o, self.latency)
        taken = Signal()
        last = position(m, "row", self.length, c.lanes, taken).last
        m.d.comb += [
            gated.valid.eq(self.i.valid & self.rows.valid),
            taken.eq(gated.valid & advance),
            self.i.ready.eq(advance & self.rows.valid),
            self.rows.ready.eq(taken & last),
        ]
        reciprocal = self.rows.payload.reciprocal
        width = ACC.width + ROW_NORM_SHIFT if c.wide else PRODUCT_WIDTH
        products = Signal(data.ArrayLayout(signed(width), c.lanes), reset_less=True)
        values = []
        for acc in self.i.payload.data:
            product = acc[: BITSHIFT_ACC.width].as_signed() * reciprocal
            # as acc * 2^15 a wide accumulator takes the same way
            values.append(Mux(self.wide, acc << ROW_NORM_SHIFT, product) if c.wide else product)
        half = 1 << (ROW_NORM_SHIFT - 1)
        rounded = [(product + half) >> ROW_NORM_SHIFT for product in products]
        with m.If(advance):
            m.d.sync += [
                products.eq(packed(values, width)),
                self.o.payload.eq(packed(rounded, ACC.width)),
            ]
        return m
