"""Rows that are read several times: a double buffer between a stream and an array."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import ceil_log2


def position(m: Module, name: str, length: Value, lanes: int, step: Value) -> tuple[Value, Value]:
    """Where a stream is in its rows of `length` elements, `lanes` a beat, moved on by `step`.

    Returns the elements left in the row, this beat included, and whether the beat is the last one.
    """
    done, left = Signal(len(length), name=f"{name}_done"), Signal(len(length), name=f"{name}_left")
    last = Signal(name=f"{name}_last")
    m.d.comb += [left.eq(length - done), last.eq(left <= lanes)]
    with m.If(step):
        m.d.sync += done.eq(Mux(last, 0, done + lanes))
    return left, last


def inside(left: Value, lanes: int) -> Value:
    """One bit a lane: it holds an element of the row, not its tail."""
    return Cat(n < left for n in range(lanes))


@dataclass(frozen=True)
class ReplayConfig:
    """lanes, width, max_length: of the rows, in elements; step, max_steps: of the repetitions."""

    lanes: int
    width: int
    max_length: int
    step: int
    max_steps: int

    def __post_init__(self):
        for name in ("lanes", "width", "max_length", "step", "max_steps"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"ReplayConfig.{name}: expected at least 1, got {value}")

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
    """Every row of `i` comes out ceil(steps / config.step) times.

    Members: `length`: elements of a row, `steps` (both held still); `i` stream {data}; `o` stream
    {data, inside, first, last, done}. One row loads while another is read: a beat every cycle on
    either side. `latency`: from a row's last beat to its first one on `o`.
    """

    latency = 2

    def __init__(self, config: ReplayConfig):
        self.config = config
        super().__init__(
            {
                "length": In(range(config.max_length + 1)),
                "steps": In(range(config.max_steps + 1)),
                "i": In(stream.Signature(config.i)),
                "o": Out(stream.Signature(config.o)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.config
        width = c.lanes * c.width
        m.submodules.beats = beats = memory.Memory(shape=width, depth=2 << c.index_width, init=[])
        write, read = beats.write_port(), beats.read_port()
        full = Signal(range(3))  # complete rows, the one being read included
        load, issue = Signal(), Signal()
        _, loaded = position(m, "load", self.length, c.lanes, load)
        left, last = position(m, "read", self.length, c.lanes, issue)
        _, last_pass = position(m, "pass", self.steps, c.step, issue & last)
        done = Signal()
        m.d.comb += done.eq(last & last_pass)

        # the upper address bit tells the two rows apart
        load_row, load_index = Signal(), Signal(c.index_width)
        read_row, read_index = Signal(), Signal(c.index_width)
        m.d.comb += [
            self.i.ready.eq(full != 2),
            load.eq(self.i.valid & self.i.ready),
            write.en.eq(load),
            write.addr.eq(Cat(load_index, load_row)),
            write.data.eq(self.i.payload.data),
        ]
        with m.If(load):
            m.d.sync += load_index.eq(Mux(loaded, 0, load_index + 1))
            m.d.sync += load_row.eq(load_row ^ loaded)

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
                flags.eq(Cat(inside(left, c.lanes), read_index == 0, last, done)),
                read_index.eq(Mux(last, 0, read_index + 1)),
                read_row.eq(read_row ^ done),
            ]
        m.d.sync += full.eq(full + (load & loaded) - (issue & done))
        return m
