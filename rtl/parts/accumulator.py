"""Accumulators behind the MAC array: rows of int32 sums in a memory, one addition a cycle."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import ACC

from .block_ram import block_ram
from .packed import packed


@dataclass(frozen=True)
class AccumulatorConfig:
    """cols: sums a row; depth: rows; width: bits of the addends; bias: rows start from a stream."""

    cols: int
    depth: int = 1
    width: int = ACC.width
    bias: bool = False

    def __post_init__(self):
        for name in ("cols", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"AccumulatorConfig.{name}: expected at least 1, got {getattr(self, name)}"
                )
        if not 1 <= self.width <= ACC.width:
            raise ValueError(f"AccumulatorConfig.width: expected 1..{ACC.width}, got {self.width}")

    @property
    def control(self) -> dict:
        """What a beat says besides its addends."""
        return {"addr": range(max(self.depth, 2)), "first": 1, "last": 1}  # no field of width 0

    @property
    def i(self) -> data.StructLayout:
        addends = data.ArrayLayout(signed(self.width), self.cols)
        return data.StructLayout({"data": addends} | self.control)

    @property
    def o(self) -> data.StructLayout:
        return data.StructLayout({"data": data.ArrayLayout(signed(ACC.width), self.cols)})


class Accumulator(wiring.Component):
    """row[addr] = (bias or 0 if first else row[addr]) + data; `last` puts the new row on `o`.

    The sums cannot overflow: the model's quantizer proves it (docs/datapath.md); 33 bits would be
    dropped silently. The two newest rows stand in registers, the newest is the output at the same
    time: what the memory delivers is used for older rows only, so that it may be read two steps
    before the addition, and need not know what is written meanwhile.

    Parameters
    ----------
    parameters : AccumulatorConfig
        columns, rows, width of the addends, whether rows start from a stream

    Members
    -------
    i : In, stream of {data, addr, first, last}
        addends of `width` bits x cols for the row `addr`
    bias : In, stream of {data}
        int32 x cols, one beat for every `first`; with parameters.bias only
    o : Out, stream of {data}
        int32 x cols

    Latency
    -------
    3, from a beat with `last` to its row on `o`.

    Throughput
    ----------
    A beat every cycle, also to the same row again and again.

    Back-pressure
    -------------
    Stalls as a whole while `o` is not taken or a `first` waits for its bias.
    """

    latency = 3

    def __init__(self, parameters: AccumulatorConfig):
        self.parameters = parameters
        ports = {"i": In(stream.Signature(parameters.i)), "o": Out(stream.Signature(parameters.o))}
        if parameters.bias:
            ports["bias"] = In(stream.Signature(parameters.o))
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        rows = self.parameters.o["data"].shape  # int32 x cols

        # stage 1: while the row memory is read; stage 2: its word is there, and the new row is made
        early_valid, valid = Signal(), Signal()
        early, beat = Signal(self.parameters.i), Signal(self.parameters.i)
        starts = Signal()  # `early` is there, and the first of its row
        free = Signal()  # the output register may be overwritten
        advance = Signal()
        starting = Signal(rows)
        m.d.comb += free.eq(self.o.ready | ~self.o.valid)
        if self.parameters.bias:
            m.d.comb += [
                self.bias.ready.eq(free & starts),
                advance.eq(free & (self.bias.valid | ~starts)),
                starting.eq(self.bias.payload.data),
            ]
        else:
            m.d.comb += advance.eq(free)
        m.d.comb += self.i.ready.eq(advance)
        with m.If(advance):
            m.d.sync += [
                early_valid.eq(self.i.valid),
                early.eq(self.i.payload),
                starts.eq(self.i.valid & self.i.payload.first),
                valid.eq(early_valid),
                beat.eq(early),
            ]

        # the rows before `beat`: the newest, and the one before that or what `beat` starts from
        newest, second = self.o.payload.data, Signal(rows, reset_less=True)
        old, new = Signal(rows), Signal(rows)
        with m.If(advance):
            m.d.sync += second.eq(Mux(early.first, starting, newest))
        is_newest = Signal()
        if self.parameters.depth == 1:
            m.d.comb += old.eq(Mux(is_newest, newest, second))
            with m.If(advance):
                m.d.sync += is_newest.eq(~early.first)
        else:
            # a word that is read while it is written is not used: that row is among the newest two
            word, is_second = Signal(rows, reset_less=True), Signal()
            newest_addr, after_newest = Signal.like(beat.addr), Signal.like(beat.addr)
            for n in range(self.parameters.cols):  # each beside its column's adders
                m.submodules[f"rows{n}"] = ram = block_ram(ACC.width, self.parameters.depth)
                write, read = ram.write_port(), ram.read_port()
                m.d.comb += [
                    read.en.eq(advance),
                    read.addr.eq(self.i.payload.addr),
                    write.en.eq(advance & valid),
                    write.addr.eq(beat.addr),
                    write.data.eq(new[n]),
                ]
                with m.If(advance):
                    m.d.sync += word[n].eq(read.data)
            m.d.comb += [
                after_newest.eq(Mux(valid, beat.addr, newest_addr)),
                old.eq(Mux(is_newest, newest, Mux(is_second, second, word))),
            ]
            with m.If(advance):
                m.d.sync += [
                    newest_addr.eq(after_newest),
                    is_newest.eq(~early.first & (early.addr == after_newest)),
                    is_second.eq(early.first | (early.addr == newest_addr)),
                ]
        sums = [old[n] + beat.data[n] for n in range(self.parameters.cols)]
        m.d.comb += new.eq(packed(sums, ACC.width))
        with m.If(free):
            m.d.sync += self.o.valid.eq(advance & valid & beat.last)
        with m.If(advance & valid):
            m.d.sync += newest.eq(new)
        return m
