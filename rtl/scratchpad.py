"""An on-chip memory with one read and one write port, shared by priority."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from .ports import read_port, write_port


class Scratchpad(wiring.Component):
    """`depth` words of `width` bits, written in granules of `granularity` bits.

    Members: `readers`, `writers`: lists of ports (`rtl.ports`), the first has the highest priority
    and is therefore never refused. Reads and writes of the same word in one cycle: the old word.
    """

    def __init__(self, depth: int, width: int, granularity: int, readers: int, writers: int):
        self.depth, self.width, self.granularity = depth, width, granularity
        super().__init__(
            {
                "readers": In(read_port(depth, width)).array(readers),
                "writers": In(write_port(depth, width, granularity)).array(writers),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = ram = memory.Memory(
            shape=self.width, depth=max(self.depth, 2), init=[]
        )
        read, write = ram.read_port(), ram.write_port(granularity=self.granularity)
        for ports, names in ((self.readers, ("addr",)), (self.writers, ("addr", "data", "mask"))):
            taken = Const(0)
            chosen = {name: getattr(ports[-1], name) for name in names}
            for port in ports:
                m.d.comb += port.ready.eq(~taken)
                taken = taken | port.valid
            for port in reversed(ports[:-1]):
                chosen = {n: Mux(port.valid, getattr(port, n), v) for n, v in chosen.items()}
            used = Signal(name=f"{'read' if ports is self.readers else 'write'}")
            m.d.comb += used.eq(taken)
            if ports is self.readers:
                m.d.comb += [read.en.eq(used), read.addr.eq(chosen["addr"])]
            else:
                m.d.comb += [
                    write.addr.eq(chosen["addr"]),
                    write.data.eq(chosen["data"]),
                    write.en.eq(Mux(used, chosen["mask"], 0)),
                ]
        for port in self.readers:
            m.d.comb += port.data.eq(read.data)
        return m
