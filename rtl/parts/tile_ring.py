"""Resident weight tiles of a MAC array: loaded row by row (or column by column), read whole."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import OPERAND


@dataclass(frozen=True)
class TileRingConfig:
    """lanes: beats a tile; width: operands a beat; tiles: capacity; group: tiles loaded at once;
    bits: of an operand."""

    lanes: int
    width: int
    tiles: int = 2
    group: int = 1
    bits: int = OPERAND.width

    def __post_init__(self):
        for name in ("lanes", "width", "tiles", "group", "bits"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"TileRingConfig.{name}: expected at least 1, got {getattr(self, name)}"
                )
        if self.group > self.tiles:
            raise ValueError(
                f"TileRingConfig.group: expected at most tiles = {self.tiles}, got {self.group}"
            )

    @property
    def pointer(self) -> range:
        return range(max(self.tiles, 2))  # never of width 0

    @property
    def lane(self) -> data.ArrayLayout:
        return data.ArrayLayout(signed(self.bits), self.width)

    @property
    def i(self) -> data.StructLayout:
        return data.StructLayout({"data": self.lane, "last": 1})

    @property
    def tile(self) -> data.ArrayLayout:
        return data.ArrayLayout(self.lane, self.lanes)


class TileRing(wiring.Component):
    """A ring of tiles, one wide memory word each, so that another tile costs no cycle to change.

    Parameters
    ----------
    parameters : TileRingConfig
        shape of a tile, capacity, tiles loaded at once

    Members
    -------
    i : In, stream of {data, last}
        lanes of a tile; `last` on its last beat, which may come early: the lanes not loaded then
        keep what they held before
    group : In, range
        number of tiles loaded at once, holds still: beat n goes to tile n mod group, lane n //
        group, and `last` completes the whole group; with parameters.group > 1 only
    offset : In, range
        a tile, counted from the oldest resident one
    resident : Out, 1
        the tile at `offset` is loaded completely
    take : In, 1
        it is read in this cycle; only while `resident`
    release : In, 1
        with `take`: after it the ring forgets all tiles up to and including this one
    advance : In, 1
        `tile` changes in the next cycle
    tile : Out, signed operands x width x lanes
        the tile at the last cycle's `offset`

    Latency
    -------
    1, from `offset` to `tile`; a tile is `resident` in the cycle after its last beat.

    Throughput
    ----------
    A beat in and a tile out every cycle.

    Back-pressure
    -------------
    `i` is taken while a tile (a group) has room.
    """

    def __init__(self, parameters: TileRingConfig):
        self.parameters = parameters
        ports = {
            "i": In(stream.Signature(parameters.i)),
            "offset": In(parameters.pointer),
            "resident": Out(1),
            "take": In(1),
            "release": In(1),
            "advance": In(1),
            "tile": Out(parameters.tile),
        }
        if parameters.group > 1:
            ports["group"] = In(range(parameters.group + 1))
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        c = self.parameters
        group = self.group if c.group > 1 else Const(1)
        m.submodules.tiles = ram = memory.Memory(shape=c.tile, depth=len(c.pointer), init=[])
        write, read = ram.write_port(granularity=1), ram.read_port()

        def wrap(address):  # address < 2 * tiles
            return Mux(address >= c.tiles, address - c.tiles, address)

        oldest, newest = Signal(c.pointer), Signal(c.pointer)
        resident = Signal(range(c.tiles + 1))  # tiles loaded completely and not released
        lane, member = Signal(range(max(c.lanes, 2))), Signal(range(max(c.group, 2)))
        last_member = Signal()
        complete = Signal()

        load = Signal()
        m.d.comb += [
            self.i.ready.eq(resident + group <= c.tiles),
            load.eq(self.i.valid & self.i.ready),
            last_member.eq(member == group - 1),
            complete.eq(load & self.i.payload.last),
            write.addr.eq(wrap(newest + member)),
            write.en.eq(Mux(load, 1 << lane, 0)),
        ]
        m.d.comb += write.data.eq(self.i.payload.data.as_value().replicate(c.lanes))
        with m.If(load):
            m.d.sync += member.eq(Mux(last_member, 0, member + 1))
            m.d.sync += lane.eq(lane + last_member)
        with m.If(complete):
            m.d.sync += [newest.eq(wrap(newest + group)), lane.eq(0), member.eq(0)]

        # whether tiles are taken and released is known late: both outcomes are ready for it
        released, loaded = Signal(), Signal.like(resident)
        m.d.comb += [
            self.resident.eq(self.offset < resident),
            released.eq(self.take & self.release),
            loaded.eq(resident + Mux(complete, group, 0)),
            read.addr.eq(wrap(oldest + self.offset)),
            read.en.eq(self.advance),
            self.tile.eq(read.data),
        ]
        m.d.sync += resident.eq(Mux(released, loaded - self.offset - 1, loaded))
        with m.If(released):
            m.d.sync += oldest.eq(wrap(oldest + self.offset + 1))
        return m
