"""The write side of the memory bus: bursts of one client, several under way."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.machine.hardware import BUS_ADDRESS, Hardware
from fqvit_hw.machine.isa import Error

from .axi import ERRORS, INCR, write_channels
from .ports import ADDRESS, memory_writer
from .window import Window, held

OUTSTANDING = 8  # bursts taken and not acknowledged


class AxiWrite(wiring.Component):
    """Takes the bursts of its client and their beats, and tells it when they are acknowledged.

    Parameters
    ----------
    hw : Hardware
        the width of the bus

    Members
    -------
    client : In, memory_writer
        the client's side; `done` when a burst of its is acknowledged
    axi : Out, write_channels
        AW, W and B of the bus
    base : In, BUS_ADDRESS
        where the memory map begins, held still while bursts are taken
    size : In, ADDRESS
        bytes of the memory map, held still while bursts are taken
    beat : Out, 1
        a beat is written in this cycle
    errors : Out, ERRORS
        bit n: Error n happens in this cycle
    drain : In, 1
        take no request; complete the bursts under way, with strobe 0 for what is missing. The
        client is in reset meanwhile; what it and the counters are told says nothing
    idle : Out, 1
        nothing is under way

    Latency
    -------
    A request taken in cycle t is on AW in t + 5; a beat taken in t is on W in t + 1. Beats are
    taken from t + 6 on.

    Throughput
    ----------
    A request every two cycles; a beat a cycle, and a cycle between two bursts.

    Back-pressure
    -------------
    A request waits while an AW is not taken or OUTSTANDING bursts are not acknowledged (four more
    may wait behind it), a beat while a W is not taken. BREADY is always 1.

    Errors
    ------
    A request that is not right (`rtl.accelerator.window`) does not reach AW: Error.ADDRESS. BRESP
    not OKAY: Error.WRITE.
    """

    def __init__(self, hw: Hardware):
        self.hw = hw
        super().__init__(
            {
                "client": In(memory_writer(hw)),
                "axi": Out(write_channels(hw)),
                "base": In(BUS_ADDRESS),
                "size": In(ADDRESS),
                "beat": Out(1),
                "errors": Out(ERRORS),
                "drain": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        hw, axi = self.hw, self.axi
        beats = self.client.beats
        shift = hw.bus_bytes.bit_length() - 1
        m.submodules.lengths = lengths = fifo.SyncFIFO(width=len(axi.awlen), depth=OUTSTANDING)
        outstanding = Signal(range(OUTSTANDING + 1))

        m.submodules.window = window = Window(hw)
        there, waiting = held(m, self.client, "client", window.i.ready, self.drain)
        burst, go, take, acknowledged = window.o.payload, Signal(), Signal(), Signal()
        m.d.comb += [
            window.base.eq(self.base),
            window.size.eq(self.size),
            window.clear.eq(self.drain),
            window.i.valid.eq(there),
            window.i.payload.eq(waiting),
            window.o.ready.eq((outstanding != OUTSTANDING) & (~axi.awvalid | axi.awready)),
            go.eq(window.o.valid & window.o.ready & ~self.drain),
            take.eq(go & burst.right),
            lengths.w_en.eq(take),
            lengths.w_data.eq(burst.beats - 1),
            axi.awsize.eq(shift),
            axi.awburst.eq(INCR),
            axi.bready.eq(1),
            acknowledged.eq(axi.bvalid),
            self.client.done.eq(acknowledged),
            self.errors[Error.ADDRESS].eq(go & ~burst.right),
            self.errors[Error.WRITE].eq(acknowledged & (axi.bresp != 0)),
            self.idle.eq((outstanding == 0) & ~axi.awvalid),
        ]
        m.d.sync += outstanding.eq(outstanding + take - acknowledged)
        with m.If(~axi.awvalid | axi.awready):
            m.d.sync += [
                axi.awvalid.eq(take),
                axi.awaddr.eq(burst.address),
                axi.awlen.eq(burst.beats - 1),
            ]

        # A burst at a time, `left` beats of it behind the next one. A cycle passes between two.
        active, left, last = Signal(), Signal.like(axi.awlen), Signal()
        free, move = Signal(), Signal()
        m.d.comb += [
            last.eq(left == 0),
            lengths.r_en.eq(~active),
            # W has a register, so that a beat stays on the bus when its client is reset
            free.eq(active & (~axi.wvalid | axi.wready)),
            move.eq(free & (beats.valid | self.drain)),
            beats.ready.eq(free),
            self.beat.eq(axi.wvalid & axi.wready),
        ]
        with m.If(~active):
            m.d.sync += [active.eq(lengths.r_rdy), left.eq(lengths.r_data)]
        with m.Elif(move):
            m.d.sync += [active.eq(~last), left.eq(left - 1)]
        with m.If(move):
            m.d.sync += [
                axi.wdata.eq(beats.payload.data),
                axi.wstrb.eq(Mux(self.drain, 0, beats.payload.strobe)),
                axi.wlast.eq(last),
            ]
        with m.If(~axi.wvalid | axi.wready):
            m.d.sync += axi.wvalid.eq(move)
        return m
