"""What a softmax looks up: an entry of a table for every score's distance to its row's maximum."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.attention_codes import AttentionCodes, entry_bits
from fqvit_hw.formats import EXPONENTIAL, INT8, UINT8

from .block_ram import block_ram
from .code_values import MODE_BITS, by_mode
from .pipeline import delayed

DISTANCE = UINT8  # m - x, 0..255: the table's address


def scores(lanes: int) -> data.ArrayLayout:
    """A beat of scores; keep 0: the pair is left out."""
    return data.ArrayLayout(data.StructLayout({"x": signed(INT8.width), "keep": 1}), lanes)


def writes(modes: Sequence[AttentionCodes]) -> data.StructLayout:
    """Of an entry of the table."""
    return data.StructLayout({"addr": DISTANCE.width, "data": entry_bits(modes)})


class DistanceTable(wiring.Component):
    """entry = table[m - x]; of a pair that is left out 0, or the code of 0 where codes are entries.

    Parameters
    ----------
    lanes : int
        scores a beat
    modes : sequence of AttentionCodes
        that are built

    Members
    -------
    advance : In, 1
        all registers move in the cycles in which it is 1
    mode : In, unsigned
        the attention mode, holds still
    table : In, stream of {addr, data}
        writes of T[d] or E[d], always taken
    start : In, 1
        `highest` is that of the row whose first beat comes two steps later
    highest : In, int8
        the row's maximum
    x : In, {x: int8, keep} x lanes
        scores
    entry : Out, unsigned x lanes
        in a mode of the maximum as many bits as its codes have, above them 0

    Latency
    -------
    5 steps of `advance` from `x` to `entry`: score, distance, table, its word, entry.

    Throughput
    ----------
    A beat a step.

    Back-pressure
    -------------
    `advance`.
    """

    latency = 5

    def __init__(self, lanes: int, modes: Sequence[AttentionCodes]):
        self.modes = modes
        super().__init__(
            {
                "advance": In(1),
                "mode": In(MODE_BITS),
                "table": In(stream.Signature(writes(modes))),
                "start": In(1),
                "highest": In(signed(INT8.width)),
                "x": In(scores(lanes)),
                "entry": Out(data.ArrayLayout(entry_bits(modes), lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = entry_bits(self.modes)
        highest, early = Signal(signed(INT8.width)), Signal(signed(INT8.width))
        beat_highest = Signal(signed(INT8.width))  # a name of its own, in the Verilog too
        score = Signal.like(self.x, reset_less=True)
        with m.If(self.start):
            m.d.sync += highest.eq(self.highest)
        with m.If(self.advance):
            m.d.sync += [early.eq(highest), beat_highest.eq(early), score.eq(self.x)]
        keep = delayed(m, self.advance, Cat(lane.keep for lane in score), 3, "keep")
        left_out = by_mode(
            m, self.mode, {c: c.zero_code if c.of_maximum else 0 for c in self.modes},
            bits, "left_out",
        )  # fmt: skip
        used = by_mode(
            m, self.mode, {c: (c.format if c.of_maximum else EXPONENTIAL).max for c in self.modes},
            bits, "used",
        )  # fmt: skip
        fill, mask = (Signal(bits, name=name, reset_less=True) for name in ("fill", "mask"))
        m.d.sync += [fill.eq(left_out), mask.eq(used)]
        m.d.comb += self.table.ready.eq(1)
        for n, lane in enumerate(score):
            # a table for each lane: a block RAM has one read port of this width beside the write;
            # it is written while no beat is inside
            table = block_ram(unsigned(bits), 1 << DISTANCE.width)
            m.submodules[f"table{n}"] = table
            write, read = table.write_port(), table.read_port()
            distance = Signal(DISTANCE.width, name=f"distance_{n}", reset_less=True)
            word = Signal(bits, name=f"word_{n}", reset_less=True)
            entry = Signal(bits, name=f"entry_{n}", reset_less=True)
            m.d.comb += [
                read.addr.eq(distance),
                read.en.eq(self.advance),
                write.en.eq(self.table.valid),
                write.addr.eq(self.table.payload.addr),
                write.data.eq(self.table.payload.data),
                self.entry[n].eq(entry),
            ]
            with m.If(self.advance):
                m.d.sync += [
                    distance.eq(beat_highest - lane.x),  # arbitrary where the pair is left out
                    word.eq(read.data),
                    entry.eq(Mux(keep[n], word & mask, fill)),
                ]
        return m
