"""Every burst is checked against the memory map, and its address on the bus made, in three steps.

    request -> its end, base + address -> does it end inside? -> out

The sum and the comparison of 33 bits have a clock cycle each: together, and with the choice among
clients before them, they were the longest path of the machine.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.machine.hardware import BUS_ADDRESS, Hardware

from .ports import ADDRESS, burst_request


def checked_burst(hw: Hardware) -> data.StructLayout:
    """address: on the bus; right: the burst lies inside the memory map, has a beat, and its address
    is a beat's. (Every client ends its bursts at multiples of BURST_BYTES.)
    """
    return data.StructLayout(
        {"address": BUS_ADDRESS, "beats": burst_request(hw)["beats"].shape, "right": 1}
    )


class Window(wiring.Component):
    """Bursts of the memory map become bursts on the bus, right ones or wrong ones.

    Parameters
    ----------
    hw : Hardware
        the width of the bus

    Members
    -------
    i : In, stream of burst_request
        offsets in the memory map
    o : Out, stream of checked_burst
        the same bursts, in order
    base : In, BUS_ADDRESS
        where the memory map begins, held still while bursts are inside
    size : In, ADDRESS
        bytes of the memory map, held still while bursts are inside
    clear : In, 1
        forget what is inside; `o.valid` is not to be looked at

    Latency
    -------
    STAGES = 3.

    Throughput
    ----------
    A burst a cycle.

    Back-pressure
    -------------
    All stand still while one at `o` is not taken.
    """

    STAGES = 3

    def __init__(self, hw: Hardware):
        self.hw = hw
        super().__init__(
            {
                "i": In(stream.Signature(burst_request(hw))),
                "o": Out(stream.Signature(checked_burst(hw))),
                "base": In(BUS_ADDRESS),
                "size": In(ADDRESS),
                "clear": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shift = self.hw.bus_bytes.bit_length() - 1
        valid, advance = Signal(self.STAGES), Signal()
        request, burst = (
            Signal(burst_request(self.hw), name=name, reset_less=True)
            for name in ("asked", "burst")
        )
        end, sound = Signal(ADDRESS + 1, reset_less=True), Signal(reset_less=True)
        address = Signal(BUS_ADDRESS, reset_less=True)
        checked = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += [
            advance.eq(self.o.ready | ~valid[-1]),
            self.i.ready.eq(advance),
            self.o.valid.eq(valid[-1]),
            self.o.payload.eq(checked),
        ]
        with m.If(advance):
            m.d.sync += [
                valid.eq(Cat(self.i.valid, valid)),
                request.eq(self.i.payload),
                # 2
                end.eq(request.address + (request.beats << shift)),
                sound.eq((request.beats != 0) & (request.address[:shift] == 0)),
                address.eq(self.base + request.address),
                burst.eq(request),
                # 3
                checked.right.eq(sound & (end <= self.size)),
                checked.address.eq(address),
                checked.beats.eq(burst.beats),
            ]
        with m.If(self.clear):
            m.d.sync += valid.eq(0)
        return m


def held(m: Module, client, name: str, taken: Value, clear: Value) -> tuple[Signal, Signal]:
    """A client's request in a register of its own, so that `ready` is one: -> (is one there, it).

    taken: it is taken from there, in this cycle; clear: forget it, and what the client, which is in
    reset meanwhile, is told to have given.
    """
    there, request = Signal(name=f"{name}_there"), client.request
    waiting = Signal.like(request.payload, name=f"{name}_waiting", reset_less=True)
    m.d.comb += request.ready.eq(~there)
    with m.If(~there):
        m.d.sync += [there.eq(request.valid & ~clear), waiting.eq(request.payload)]
    with m.Elif(taken | clear):
        m.d.sync += there.eq(0)
    return there, waiting
