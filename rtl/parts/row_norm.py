"""Row normalization: a row of context accumulators times the reciprocal of its row of codes.

Arithmetic: `fqvit_hw.units.attention.normalize_rows`, docs/datapath.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.attention_codes import AttentionCodes
from fqvit_hw.formats import ACC, CONTEXT_ACC, INT8, RECIPROCAL, ROW_SHIFT, UNIT_ROW

from .packed import packed
from .pipeline import pipeline
from .position import position
from .row_reciprocal import row_sum_bits


def sum_bits(modes: Sequence[AttentionCodes], max_tokens: int) -> int:
    """Of a sum of values times v: |v| <= 2^7 times a row's sum of values, signed."""
    return row_sum_bits(modes, max_tokens) + INT8.width


def rounded_shift(m: Module, product: Value, shift: Value, name: str) -> Value:
    """rshift_round of a signed product by an amount of at least 1."""
    doubled = Signal(signed(len(product)), name=name)
    m.d.comb += doubled.eq(product >> (shift - 1)[: ROW_SHIFT.width])
    return (doubled + 1) >> 1


@dataclass(frozen=True)
class RowNormConfig:
    """lanes: accumulators a beat; max_length: longest row; bits: of an accumulator that is scaled
    (`sum_bits`); wide: can let 32 bits through."""

    lanes: int
    max_length: int
    bits: int
    wide: bool = False

    @property
    def i(self) -> data.StructLayout:
        return data.StructLayout({"data": data.ArrayLayout(signed(ACC.width), self.lanes)})

    @property
    def rows(self) -> data.StructLayout:
        return data.StructLayout(
            {"reciprocal": unsigned(RECIPROCAL.width), "shift": unsigned(ROW_SHIFT.width)}
        )


class RowNorm(wiring.Component):
    """rshift_round(acc * reciprocal, shift); the reciprocal 2^15 with shift 15 changes nothing.

    Parameters
    ----------
    parameters : RowNormConfig
        lanes, longest row, bits of an accumulator, whether 32 bits can pass

    Members
    -------
    length : In, range
        accumulators of a row; holds still
    wide : In, 1
        accumulators have 32 bits and pass as they are; with parameters.wide only
    i : In, stream of {data}
        int32 x lanes
    rows : In, stream of {reciprocal, shift}
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
        reciprocal, shift = self.rows.payload.reciprocal, Signal(ROW_SHIFT.width)
        width = max(ACC.width + UNIT_ROW[1] if c.wide else 0, c.bits + RECIPROCAL.width)
        products = Signal(data.ArrayLayout(signed(width), c.lanes), reset_less=True)
        values = []
        for acc in self.i.payload.data:
            product = acc[: c.bits].as_signed() * reciprocal
            # as acc * 2^15 a wide accumulator takes the same way
            values.append(Mux(self.wide, acc << UNIT_ROW[1], product) if c.wide else product)
        rounded = [
            rounded_shift(m, product, shift, f"doubled_{n}") for n, product in enumerate(products)
        ]
        bits = ACC.width if c.wide else CONTEXT_ACC.width
        with m.If(advance):
            m.d.sync += [
                products.eq(packed(values, width)),
                shift.eq(
                    Mux(self.wide, UNIT_ROW[1], self.rows.payload.shift)
                    if c.wide
                    else self.rows.payload.shift
                ),
                self.o.payload.eq(
                    packed((value[:bits].as_signed() for value in rounded), ACC.width)
                ),
            ]
        return m
