"""The read side of the memory bus: bursts of several clients, in turn, answers in order."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.machine.hardware import BUS_ADDRESS, Hardware
from fqvit_hw.machine.isa import Error

from .axi import ERRORS, INCR, allowed, read_channels
from .ports import ADDRESS, burst_request, memory_reader

OUTSTANDING = 32  # bursts asked for and not completely answered


class AxiRead(wiring.Component):
    """Takes the bursts of its clients, one after another, and hands out the beats.

    Among the clients that ask, the one after the last one served is next.

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
        take no request, swallow the answers under way; an AR that is out stays out
    idle : Out, 1
        nothing is under way

    Latency
    -------
    A request taken in cycle t is on AR in t + 1. A beat reaches its client in the cycle of its R
    handshake.

    Throughput
    ----------
    A request a cycle while ARREADY is high; a beat a cycle.

    Back-pressure
    -------------
    A request waits while an AR is not taken or OUTSTANDING bursts are under way. RREADY is always
    1: clients ask only for what they have room for.

    Errors
    ------
    A request that is not `allowed` in the map is not taken: Error.ADDRESS. RRESP not OKAY:
    Error.READ.
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
        m.submodules.order = order = fifo.SyncFIFO(
            width=max((n - 1).bit_length(), 1), depth=OUTSTANDING
        )

        # The first client that asks, beginning after the one served last.
        chosen, served = Signal(range(max(n, 2))), Signal(range(max(n, 2)))
        request, asked = Signal(burst_request(hw)), Signal()
        with m.Switch(served):
            for last in range(n):
                with m.Case(last):
                    for k in reversed(range(last + 1, last + 1 + n)):
                        with m.If(self.clients[k % n].request.valid):
                            m.d.comb += chosen.eq(k % n)
        with m.Switch(chosen):
            for k, client in enumerate(self.clients):
                with m.Case(k):
                    m.d.comb += request.eq(client.request.payload)
        m.d.comb += asked.eq(Cat(client.request.valid for client in self.clients).any())

        right, may, take = Signal(), Signal(), Signal()
        m.d.comb += [
            right.eq(allowed(hw, request, self.size)),
            may.eq(asked & ~self.drain & order.w_rdy & (~axi.arvalid | axi.arready)),
            take.eq(may & right),
            order.w_en.eq(take),
            order.w_data.eq(chosen),
        ]
        for k, client in enumerate(self.clients):
            m.d.comb += client.request.ready.eq(take & (chosen == k))
        with m.If(take):
            m.d.sync += [
                served.eq(chosen),
                axi.araddr.eq(self.base + request.address),
                axi.arlen.eq(request.beats - 1),
            ]
        with m.If(~axi.arvalid | axi.arready):
            m.d.sync += axi.arvalid.eq(take)

        arrived = Signal()
        m.d.comb += [
            axi.arsize.eq(shift),
            axi.arburst.eq(INCR),
            axi.rready.eq(1),
            order.r_en.eq(axi.rvalid & axi.rlast),
            arrived.eq(axi.rvalid & ~self.drain),
            self.beats.eq(Mux(arrived, 1 << order.r_data, 0)),
            self.errors[Error.ADDRESS].eq(may & ~right),
            self.errors[Error.READ].eq(arrived & (axi.rresp != 0)),
            self.idle.eq(~axi.arvalid & ~order.r_rdy),
        ]
        for k, client in enumerate(self.clients):
            m.d.comb += [
                client.valid.eq(self.beats[k]),
                client.data.eq(axi.rdata),
                client.last.eq(axi.rlast),
            ]
        return m
