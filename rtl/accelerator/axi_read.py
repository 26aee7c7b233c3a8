"""The read side of the memory bus: bursts of several clients, in turn, answers in order."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.machine.hardware import BUS_ADDRESS, Hardware
from fqvit_hw.machine.isa import Error

from .axi import ERRORS, INCR, read_channels
from .ports import ADDRESS, memory_reader
from .window import Window, held

OUTSTANDING = 32  # bursts asked for and not completely answered


class AxiRead(wiring.Component):
    """Takes the bursts of its clients, one after another, and hands out the beats.

    Every request waits in a register of its client; among those, the one after the last one served
    goes next into the window (`rtl.accelerator.window`), which checks it.

    Parameters
    ----------
    hw : Hardware
        the width of the bus
    clients : int
        how many there are

    Members
    -------
    clients : In, array of memory_reader
        the clients' sides
    axi : Out, read_channels
        AR and R of the bus
    base : In, BUS_ADDRESS
        where the memory map begins, held still while bursts are taken
    size : In, ADDRESS
        bytes of the memory map, held still while bursts are taken
    beats : Out, clients
        bit n: client n is given a beat in this cycle
    errors : Out, ERRORS
        bit n: Error n happens in this cycle
    drain : In, 1
        take no request; an AR that is out stays out. The clients are in reset meanwhile; what they
        and the counters are told says nothing
    idle : Out, 1
        nothing is under way

    Latency
    -------
    A request taken in cycle t is on AR in t + 5. A beat reaches its client in the cycle of its R
    handshake.

    Throughput
    ----------
    A request a cycle while ARREADY is high, one of a client every two cycles; a beat a cycle.

    Back-pressure
    -------------
    A request waits while an AR is not taken or OUTSTANDING bursts, the window's included, may be
    under way. RREADY is always
    1: clients ask only for what they have room for.

    Errors
    ------
    A request that is not right (`rtl.accelerator.window`) does not reach AR: Error.ADDRESS. RRESP
    not OKAY: Error.READ.
    """

    def __init__(self, hw: Hardware, clients: int):
        self.hw = hw
        super().__init__(
            {
                "clients": In(memory_reader(hw)).array(clients),
                "axi": Out(read_channels(hw)),
                "base": In(BUS_ADDRESS),
                "size": In(ADDRESS),
                "beats": Out(clients),
                "errors": Out(ERRORS),
                "drain": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        hw, axi, n = self.hw, self.axi, len(self.clients)
        shift = hw.bus_bytes.bit_length() - 1
        # whose the next beats are, from a register; one more, as an answer may come at once
        m.submodules.order = order = fifo.SyncFIFOBuffered(
            width=max((n - 1).bit_length(), 1), depth=OUTSTANDING + 1
        )
        under_way = Signal(range(OUTSTANDING + 1))

        # The first client whose request is there, beginning after the one served last.
        there = Signal(n)
        chosen, served = Signal(range(max(n, 2))), Signal(range(max(n, 2)))
        picked = Signal(n)
        waiting = []
        for k, client in enumerate(self.clients):
            valid, request = held(m, client, f"client{k}", picked[k], self.drain)
            m.d.comb += there[k].eq(valid)
            waiting.append(request)
        with m.Switch(served):
            for last in range(n):
                with m.Case(last):
                    for k in reversed(range(last + 1, last + 1 + n)):
                        with m.If(there[k % n]):
                            m.d.comb += chosen.eq(k % n)

        # One is picked when `order` has room for it and for those in the window.
        m.submodules.window = window = Window(hw)
        free, take = Signal(), Signal()
        with m.Switch(chosen):
            for k, request in enumerate(waiting):
                with m.Case(k):
                    m.d.comb += [
                        window.i.payload.eq(request),
                        picked[k].eq(window.i.valid & window.i.ready),
                    ]
        m.d.comb += [
            window.base.eq(self.base),
            window.size.eq(self.size),
            window.clear.eq(self.drain),
            window.i.valid.eq(there.any() & (under_way <= OUTSTANDING - 1 - Window.STAGES)),
        ]
        with m.If(picked.any()):
            m.d.sync += served.eq(chosen)
        # In the order in which they leave the window.
        clients = Signal(len(chosen) * Window.STAGES)
        with m.If(window.i.ready):
            m.d.sync += clients.eq(Cat(chosen, clients))
        burst = window.o.payload
        m.d.comb += [
            free.eq(~axi.arvalid | axi.arready),
            window.o.ready.eq(free),
            take.eq(window.o.valid & free & burst.right & ~self.drain),
            order.w_en.eq(take),
            order.w_data.eq(clients[-len(chosen) :]),
        ]
        with m.If(free):
            m.d.sync += [
                axi.arvalid.eq(take),
                axi.araddr.eq(burst.address),
                axi.arlen.eq(burst.beats - 1),
            ]

        m.d.sync += under_way.eq(under_way + take - order.r_en)
        m.d.comb += [
            axi.arsize.eq(shift),
            axi.arburst.eq(INCR),
            axi.rready.eq(1),
            order.r_en.eq(axi.rvalid & axi.rlast),
            self.beats.eq(Mux(axi.rvalid, 1 << order.r_data, 0)),
            self.errors[Error.ADDRESS].eq(window.o.valid & window.o.ready & ~burst.right),
            self.errors[Error.READ].eq(axi.rvalid & (axi.rresp != 0)),
            self.idle.eq(~axi.arvalid & (under_way == 0)),
        ]
        for k, client in enumerate(self.clients):
            m.d.comb += [
                client.valid.eq(self.beats[k]),
                client.data.eq(axi.rdata),
                client.last.eq(axi.rlast),
            ]
        return m
