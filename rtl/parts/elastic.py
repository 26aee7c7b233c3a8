"""Two registers between streams, so that neither side sees the other's handshake."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class Elastic(wiring.Component):
    """A stream whose `valid`, payload and `ready` come out of registers.

    Parameters
    ----------
    shape : ShapeLike
        of the payload

    Members
    -------
    i : In, stream of shape
        what goes in
    o : Out, stream of shape
        the same

    Latency
    -------
    1 cycle.

    Throughput
    ----------
    One a cycle.

    Back-pressure
    -------------
    Two wait inside: the one at `o`, and one that came while it was not taken.
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        i, o = self.i, self.o
        spare, ready = Signal.like(i.payload, name="spare", reset_less=True), Signal(init=1)
        head = Signal.like(i.payload, name="head", reset_less=True)
        valid = Signal()
        m.d.comb += [i.ready.eq(ready), o.valid.eq(valid), o.payload.eq(head)]
        with m.If(ready):
            m.d.sync += spare.eq(i.payload)
        with m.If(o.ready | ~valid):
            m.d.sync += [
                head.eq(Mux(ready, i.payload, spare)),
                valid.eq(i.valid | ~ready),
                ready.eq(1),
            ]
        with m.Elif(i.valid):
            m.d.sync += ready.eq(0)
        return m
