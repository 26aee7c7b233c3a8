"""What lies between two stages that work on different rows: a ring of beats, a value of the row."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out


class Ring(wiring.Component):
    """A ring of beats in block RAM, first in, first out, with its places reserved beforehand.

    Parameters
    ----------
    width : int
        bits of a beat
    depth : int
        places; a power of two

    Members
    -------
    reserve : In, 1
        takes a place; only while there is `room`
    room : Out, 1
        a place is free
    write : In, 1
        fills the oldest place reserved
    write_data : In, width
        the beat
    read : In, 1
        frees the oldest place written
    read_data : Out, width
        its beat, in the next cycle

    Latency
    -------
    A beat can be read in the cycle after its write; its data come one cycle later.

    Throughput
    ----------
    A beat in and a beat out every cycle.

    Back-pressure
    -------------
    `room`; a stage that has reserved a place never waits when it writes.
    """

    def __init__(self, width: int, depth: int):
        self.depth = depth
        super().__init__(
            {
                "reserve": In(1),
                "room": Out(1),
                "write": In(1),
                "write_data": In(width),
                "read": In(1),
                "read_data": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape = unsigned(len(self.write_data))
        m.submodules.memory = ram = memory.Memory(shape=shape, depth=self.depth, init=[])
        write, read = ram.write_port(), ram.read_port()
        used = Signal(range(self.depth + 1))
        m.d.comb += [
            self.room.eq(used != self.depth),
            write.en.eq(self.write),
            write.data.eq(self.write_data),
            read.en.eq(self.read),
            self.read_data.eq(read.data),
        ]
        m.d.sync += [
            write.addr.eq(write.addr + self.write),
            read.addr.eq(read.addr + self.read),
            used.eq(used + self.reserve - self.read),
        ]
        return m


class Handover:
    """One row's value on its way to the next stage, which takes it by `start` and begins with it in
    the next cycle. `busy` from the moment the row's last beat enters the stage that computes the
    value, so that no second row can overtake; `ready` when the value is there.
    """

    def __init__(self, m: Module, shape, name: str):
        self.m = m
        self.value = Signal(shape, name=name)
        self.busy, self.ready = Signal(name=f"{name}_busy"), Signal(name=f"{name}_ready")
        self.start = Signal(name=f"{name}_start")
        with m.If(self.start):
            m.d.sync += [self.busy.eq(0), self.ready.eq(0)]

    def announce(self):
        return self.busy.eq(1)

    def deliver(self, value: Value):
        return [self.value.eq(value), self.ready.eq(1)]
