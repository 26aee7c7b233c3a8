"""What lies between two stages that work on different rows: a ring of beats, a value of the row."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .block_ram import block_ram


class Ring(wiring.Component):
    """A ring of beats in block RAM, first in, first out, with its places reserved beforehand.

    Parameters
    ----------
    width : int
        bits of a beat
    depth : int
        places, at least 2; a power of two

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
    advance : In, 1
        `read_data` changes in the next cycle
    read : In, 1
        with `advance`: frees the oldest place written
    read_data : Out, width
        its beat, in the next cycle; of no use after an `advance` without `read`

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
                "room": Out(1, init=1),
                "write": In(1),
                "write_data": In(width),
                "advance": In(1),
                "read": In(1),
                "read_data": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape = unsigned(len(self.write_data))
        # A place is read after it was written, and written again after it was read: never both.
        # What comes without `read` is of no use.
        m.submodules.memory = ram = block_ram(shape, self.depth)
        write, read = ram.write_port(), ram.read_port()
        used = Signal(range(self.depth + 1))
        m.d.comb += [
            write.en.eq(self.write),
            write.data.eq(self.write_data),
            read.en.eq(self.advance),
            self.read_data.eq(read.data),
        ]
        # `room` is a cycle old: it leaves out the place that may have been taken since
        m.d.sync += [
            write.addr.eq(write.addr + self.write),
            read.addr.eq(read.addr + self.read),
            used.eq(counted(used, self.reserve, self.read)),
            self.room.eq(used < self.depth - 1),
        ]
        return m


def counted(count: Value, up: Value, down: Value) -> Value:
    """count + up - down, by one adder."""
    return count + Cat(up ^ down, (~up & down).replicate(len(count) - 1))


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
