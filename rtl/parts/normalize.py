"""Second pass of LayerNorm: a row is read from the ring buffer, normalized, scaled and rounded."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import (
    BETA,
    BETA_FRACTION,
    GAMMA,
    INT8,
    NORM,
    NORM_FRACTION,
    NORM_RECIPROCAL,
    ceil_log2,
)

from .pipeline import saturate

if TYPE_CHECKING:
    from ..blocks.layernorm import LayerNormConfig


class Beat(NamedTuple):
    """A beat's place in its row; left: channels from its lane 0 to the end of the row."""

    first: Value
    last: Value
    index: Value
    left: Value


def count_beats(m: Module, c: LayerNormConfig, channels: Value, name: str, step: Value) -> Beat:
    """The place of the beat at hand, in rows of `channels`; `step` ends the beat."""
    first, last = Signal(init=1, name=f"{name}_first"), Signal(name=f"{name}_last")
    index = Signal(range(c.beats), name=f"{name}_index")
    rest = Signal(range(c.max_channels + 1), name=f"{name}_rest")
    left = Signal.like(rest, name=f"{name}_left")
    m.d.comb += [left.eq(Mux(first, channels, rest)), last.eq(left <= c.lanes)]
    with m.If(step):
        m.d.sync += [
            first.eq(last),
            rest.eq(left - c.lanes),
            index.eq(Mux(last, 0, index + 1)),
        ]
    return Beat(first, last, index, left)


class Normalize(wiring.Component):
    """y = sat8(rshift_round(gamma * T + beta, ..) + zero_out), T = rshift_round(D * R, shift).

    Members: `start` takes a row's `R`, `shift` and `total`; the next row's may come in the cycle of
    the row's last turn in the ring, not before. `config` holds still; `tail`: live lanes of a row's
    last beat. Memory ports, data one cycle after the address: `ring` (in order, an address a beat),
    `gamma`, `beta`. Out: `valid`, `last`, `y`, a beat every cycle, `latency` cycles after the
    beat's turn in the ring; the first turn is in the cycle after `start`.
    """

    latency = 10

    def __init__(self, config: LayerNormConfig):
        self.settings = c = config
        w = c.widths
        super().__init__(
            {
                "config": In(c.constants),
                "tail": In(c.lanes),
                "start": In(1),
                "R": In(NORM_RECIPROCAL.width),
                "shift": In(range(c.inverse_root.pairs)),
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
        c, w = self.settings, self.settings.widths
        busy = Signal()
        beat = count_beats(m, c, self.config.channels, "beat", busy)
        m.d.sync += busy.eq(self.start | (busy & ~beat.last))
        with m.If(busy):
            m.d.sync += self.ring_addr.eq(self.ring_addr + 1)

        # marks[n] belongs to the beat in stage n, 0 being its turn in the ring
        mark = data.StructLayout({"valid": 1, "first": 1, "last": 1, "index": range(c.beats)})
        marks = [Signal(mark, name=f"mark{n}") for n in range(self.latency)]
        m.d.comb += [
            marks[0].valid.eq(busy),
            marks[0].first.eq(busy & beat.first),
            marks[0].last.eq(beat.last),
            marks[0].index.eq(beat.index),
            self.gamma_addr.eq(marks[5].index),
            self.beta_addr.eq(marks[7].index),
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

        total, R, shift = row(self.total, "total", 2), row(self.R, "R", 3), row(self.shift, "e", 4)
        # beta counts in 2^-10; T * gamma in 2^-(16 + gamma_shift), cut to 2^-10: rounding down
        # twice is rounding down once, so the bits cut off cannot change the sum with beta
        cut = NORM_FRACTION - BETA_FRACTION
        offset = (self.config.zero_out << BETA_FRACTION) + (1 << (BETA_FRACTION - 1))
        CX = register("CX", ceil_log2(c.max_channels) + w.X.width)
        D = register("D", w.D.width)
        DR = register("DR", w.D.width + NORM_RECIPROCAL.width)
        doubled = register("doubled", NORM.width + 1)  # 2 T, before rounding
        T = register("T", NORM.width)
        TG = register("TG", NORM.width + GAMMA.width)
        scaled = register("scaled", NORM.width + GAMMA.width - cut)
        summed = register("summed", NORM.width + GAMMA.width - cut + 1)
        for k in range(c.lanes):
            m.d.sync += [
                CX[k].eq(self.ring_data[k] * self.config.channels),
                D[k].eq(CX[k] - total),
                DR[k].eq(D[k] * R),
                # rshift_round(v, n) = ((2 v >> n) + 1) >> 1
                doubled[k].eq((DR[k] << 1) >> shift),
                T[k].eq((doubled[k] + 1) >> 1),
                TG[k].eq(T[k] * self.gamma_data[k]),
                scaled[k].eq((TG[k] >> cut) >> self.config.gamma_shift),
                summed[k].eq(scaled[k] + self.beta_data[k] + offset),
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
