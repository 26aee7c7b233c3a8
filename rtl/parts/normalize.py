"""Second pass of LayerNorm: a row is read from the ring buffer, normalized, scaled and rounded."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import (
    BETA,
    BETA_FRACTION,
    GAMMA,
    INT8,
    MAX_GAMMA_SHIFT,
    NORM,
    NORM_FRACTION,
    NORM_RECIPROCAL,
    LayerNormWidths,
    ceil_log2,
)

from .pipeline import saturate
from .position import position
from .product import Product
from .shifter import shift_right


@dataclass(frozen=True)
class NormalizeConfig:
    """lanes: elements a beat; beats: of the longest row, at least 2; ring_depth: beats of the ring.

    widths: LayerNormWidths of the longest row; pairs: of bits of V (`InverseRootConfig.pairs`);
    wide_multipliers: of 27 x 18 bits (`rtl.parts.product`).
    """

    lanes: int
    beats: int
    ring_depth: int
    widths: LayerNormWidths
    pairs: int
    wide_multipliers: bool = False

    @property
    def layer(self) -> data.StructLayout:
        return data.StructLayout(
            {
                "channels": range(self.widths.channels + 1),
                "gamma_shift": range(MAX_GAMMA_SHIFT + 1),
                "zero_out": signed(INT8.width),
            }
        )

    def array(self, width: int) -> data.ArrayLayout:
        return data.ArrayLayout(signed(width), self.lanes)


class Normalize(wiring.Component):
    """y = sat8(rshift_round(gamma * T + beta, ..) + zero_out), T = rshift_round(D * R, shift).

    Parameters
    ----------
    parameters : NormalizeConfig
        lanes, formats and depths

    Members
    -------
    config : In, NormalizeConfig.layer
        channels of a row, gamma_shift, zero_out; holds still
    tail : In, bit x lanes
        the live lanes of a row's last beat
    start : In, 1
        takes R, shift and total of a row
    R, shift : In, unsigned
        1 / sqrt(V) = R * 2^-(16 + shift)
    total : In, signed
        sum of the row's X
    ring_addr : Out, range
        of the ring buffer: in order, an address a beat
    ring_data : In, X x lanes
        one cycle after its address, as all data: it goes through two registers, of which one may be
        the memory's, the other one the multiplier's
    gamma_addr, beta_addr : Out, range
        the beat's place in the row
    gamma_data, beta_data : In, array
        the parameters of its channels
    valid, last : Out, 1
        there is a beat in `y`; it is the row's last one
    y : Out, int8 x lanes
        tail lanes 0

    Latency
    -------
    15, from a beat's turn in the ring to `valid`; the first turn is in the cycle after `start`.

    Throughput
    ----------
    A beat every cycle. The next row's `start` may come in the cycle of the row's last turn in the
    ring, not before.

    Back-pressure
    -------------
    None: the parent stops the clock of the whole component (`rtl.blocks.layernorm`).
    """

    latency = 15

    def __init__(self, parameters: NormalizeConfig):
        self.parameters = c = parameters
        w = c.widths
        super().__init__(
            {
                "config": In(c.layer),
                "tail": In(c.lanes),
                "start": In(1),
                "R": In(NORM_RECIPROCAL.width),
                "shift": In(range(c.pairs)),
                "total": In(signed(w.total.width)),
                "ring_addr": Out(range(c.ring_depth)),
                "ring_data": In(c.array(w.X.width)),
                "gamma_addr": Out(range(c.beats)),
                "gamma_data": In(c.array(GAMMA.width)),
                "beta_addr": Out(range(c.beats)),
                "beta_data": In(c.array(BETA.width)),
                "valid": Out(1),
                "last": Out(1),
                "y": Out(c.array(INT8.width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c, w = self.parameters, self.parameters.widths
        busy = Signal()
        beat = position(m, "beat", self.config.channels, c.lanes, busy)
        index = Signal(range(c.beats), name="beat_index")
        m.d.sync += busy.eq(self.start | (busy & ~beat.last))
        with m.If(busy):
            m.d.sync += [
                self.ring_addr.eq(self.ring_addr + 1),
                index.eq(Mux(beat.last, 0, index + 1)),
            ]

        # marks[n] belongs to the beat in stage n, 0 being its turn in the ring
        mark = data.StructLayout({"valid": 1, "first": 1, "last": 1, "index": range(c.beats)})
        marks = [Signal(mark, name=f"mark{n}") for n in range(self.latency)]
        m.d.comb += [
            marks[0].valid.eq(busy),
            marks[0].first.eq(busy & beat.first),
            marks[0].last.eq(beat.last),
            marks[0].index.eq(index),
            self.gamma_addr.eq(marks[7].index),
            self.beta_addr.eq(marks[10].index),
        ]
        m.d.sync += [after.eq(before) for before, after in pairwise(marks)]

        def row(constant, name: str, stage: int) -> Signal:
            """The row's constant for stage `stage`: it changes when the row's first beat comes."""
            taken = Signal.like(constant, name=f"{name}_taken", reset_less=True)
            held = Signal.like(constant, name=f"{name}_held", reset_less=True)
            with m.If(self.start):
                m.d.sync += taken.eq(constant)
            with m.If(marks[stage - 1].first):
                m.d.sync += held.eq(taken)
            return held

        def register(name: str, width: int) -> data.View:
            return Signal(c.array(width), name=name, reset_less=True)

        total, R, shift = row(self.total, "total", 4), row(self.R, "R", 5), row(self.shift, "e", 7)
        # beta counts in 2^-10; T * gamma in 2^-(16 + gamma_shift), cut to 2^-10: rounding down
        # twice is rounding down once, so the bits cut off cannot change the sum with beta
        cut = NORM_FRACTION - BETA_FRACTION
        offset = (self.config.zero_out << BETA_FRACTION) + (1 << (BETA_FRACTION - 1))
        always = Const(1)
        # what the memories deliver, and what the multipliers take; beta goes to an adder
        read_X, read_gamma = register("read_X", w.X.width), register("read_gamma", GAMMA.width)
        X, gamma = register("X", w.X.width), register("gamma", GAMMA.width)
        CX = register("CX", ceil_log2(w.channels) + w.X.width)
        D = register("D", w.D.width)
        T = register("T", NORM.width)
        scaled = register("scaled", NORM.width + GAMMA.width - cut)
        summed = register("summed", NORM.width + GAMMA.width - cut + 1)
        beta, added = register("beta", BETA.width), register("added", BETA.width + 1)
        m.d.sync += [read_X.eq(self.ring_data), read_gamma.eq(self.gamma_data)]
        m.d.sync += [X.eq(read_X), gamma.eq(read_gamma), beta.eq(self.beta_data)]
        for k in range(c.lanes):
            DR = Product(m, always, D[k], R, f"DR{k}", c.wide_multipliers).result
            # rshift_round(v, n) = ((2 v >> n) + 1) >> 1
            doubled = shift_right(m, always, DR << 1, shift, f"doubled{k}")
            TG = Product(m, always, T[k], gamma[k], f"TG{k}", c.wide_multipliers).result
            m.d.sync += [
                CX[k].eq(X[k] * self.config.channels),
                D[k].eq(CX[k] - total),
                T[k].eq((doubled + 1) >> 1),
                scaled[k].eq((TG >> cut) >> self.config.gamma_shift),
                added[k].eq(beta[k] + offset),
                summed[k].eq(scaled[k] + added[k]),
                self.y[k].eq(
                    Mux(
                        marks[-1].last & ~self.tail[k],
                        0,
                        saturate(summed[k] >> BETA_FRACTION, INT8),
                    )
                ),
            ]
        m.d.sync += [self.valid.eq(marks[-1].valid), self.last.eq(marks[-1].last)]
        return m
