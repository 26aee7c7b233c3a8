"""Rows that are read several times: a buffer of a few rows between a stream and an array."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import ceil_log2

from .position import inside, position


@dataclass(frozen=True)
class ReplayConfig:
    """lanes, width, max_length: of the rows, in elements; step, max_steps: of the repetitions;
    rows: that may be there, the one being read included, a power of two."""

    lanes: int
    width: int
    max_length: int
    step: int
    max_steps: int
    rows: int = 2

    def __post_init__(self):
        for name in ("lanes", "width", "max_length", "step", "max_steps"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"ReplayConfig.{name}: expected at least 1, got {value}")
        if self.rows < 2 or self.rows & (self.rows - 1):
            raise ValueError(f"ReplayConfig.rows: expected a power of two, got {self.rows}")

    @property
    def index_width(self) -> int:
        return max(ceil_log2(-(-self.max_length // self.lanes)), 1)

    @property
    def i(self) -> data.StructLayout:
        return data.StructLayout({"data": data.ArrayLayout(self.width, self.lanes)})

    @property
    def o(self) -> data.StructLayout:
        """inside: lanes that hold elements; first, last: beat of a pass; done: of the last pass."""
        flags = {"inside": self.lanes, "first": 1, "last": 1, "done": 1}
        return data.StructLayout({"data": self.i["data"].shape} | flags)


class Replay(wiring.Component):
    """Every row of `i` comes out ceil(steps / parameters.step) times.

    Parameters
    ----------
    parameters : ReplayConfig
        shape of the rows, longest row, most repetitions

    Members
    -------
    length : In, range
        elements of a row; holds still
    steps : In, range
        what the repetitions count; holds still
    i : In, stream of {data}
        rows
    o : Out, stream of {data, inside, first, last, done}
        rows again and again, with what each beat is (`ReplayConfig.o`)

    Latency
    -------
    2, from a row's last beat on `i` to its first one on `o`.

    Throughput
    ----------
    A beat every cycle on either side: one row loads while another is read.

    Back-pressure
    -------------
    `i` is refused while parameters.rows rows are there; `o` waits as long as it is not taken.
    """

    latency = 2

    def __init__(self, parameters: ReplayConfig):
        self.parameters = parameters
        super().__init__(
            {
                "length": In(range(parameters.max_length + 1)),
                "steps": In(range(parameters.max_steps + 1)),
                "i": In(stream.Signature(parameters.i)),
                "o": Out(stream.Signature(parameters.o)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.parameters
        width = c.lanes * c.width
        m.submodules.beats = beats = memory.Memory(
            shape=width, depth=c.rows << c.index_width, init=[]
        )
        write, read = beats.write_port(), beats.read_port()
        full = Signal(range(c.rows + 1))  # complete rows, the one being read included
        load, issue = Signal(), Signal()
        loaded = position(m, "load", self.length, c.lanes, load).last
        first, last, left = position(m, "read", self.length, c.lanes, issue)
        last_pass = position(m, "pass", self.steps, c.step, issue & last).last
        done = Signal()
        m.d.comb += done.eq(last & last_pass)

        # the upper address bits tell the rows apart
        load_row, load_index = Signal(range(c.rows)), Signal(c.index_width)
        read_row, read_index = Signal(range(c.rows)), Signal(c.index_width)
        m.d.comb += [
            self.i.ready.eq(full != c.rows),
            load.eq(self.i.valid & self.i.ready),
            write.en.eq(load),
            write.addr.eq(Cat(load_index, load_row)),
            write.data.eq(self.i.payload.data),
        ]
        with m.If(load):
            m.d.sync += load_index.eq(Mux(loaded, 0, load_index + 1))
            m.d.sync += load_row.eq(load_row + loaded)

        advance = Signal()
        flags = Signal(c.lanes + 3)  # inside, first, last, done: beside the data read
        m.d.comb += [
            advance.eq(self.o.ready | ~self.o.valid),
            issue.eq(advance & (full != 0)),
            read.en.eq(issue),
            read.addr.eq(Cat(read_index, read_row)),
            self.o.payload.eq(Cat(read.data, flags)),
        ]
        with m.If(advance):
            m.d.sync += self.o.valid.eq(full != 0)
        with m.If(issue):
            m.d.sync += [
                flags.eq(Cat(inside(left, c.lanes), first, last, done)),
                read_index.eq(Mux(last, 0, read_index + 1)),
                read_row.eq(read_row + done),
            ]
        m.d.sync += full.eq(full + (load & loaded) - (issue & done))
        return m
