"""The tile memory: weights, and keys and values that the epilogue writes."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import INT8
from fqvit_hw.machine.hardware import Hardware

from ..parts.block_ram import block_ram
from ..parts.packed import packed


def tile_reader(hw: Hardware) -> wiring.Signature:
    """The array's side: `data`, byte c * R + r, is the tile at the `addr` of two cycles ago."""
    return wiring.Signature({"addr": Out(range(hw.tiles)), "data": In(INT8.width * hw.tile_bytes)})


def weight_writer(hw: Hardware) -> wiring.Signature:
    """The weights' side: `beat` is which bus-sized piece of the tile; may be refused."""
    return wiring.Signature(
        {
            "valid": Out(1),
            "ready": In(1),
            "tile": Out(range(hw.tiles)),
            "beat": Out(range(max(hw.tile_bytes // hw.bus_bytes, 2))),
            "data": Out(hw.bus),
        }
    )


def lane_writer(hw: Hardware) -> wiring.Signature:
    """The epilogue's side, never refused: E bytes of one column (KEYS) or one row (VALUES).

    kind: 0 keys, 1 values; lane: the column (keys) or the row (values); at: the first row (keys) or
    column (values), a multiple of E; mask: a bit for each of `data`.
    """
    return wiring.Signature(
        {
            "valid": Out(1),
            "kind": Out(1),
            "tile": Out(range(hw.tiles)),
            "lane": Out(range(hw.cols)),
            "at": Out(range(hw.cols)),
            "data": Out(data.ArrayLayout(INT8.width, hw.lanes)),
            "mask": Out(hw.lanes),
        }
    )


def tile_clearer(hw: Hardware) -> wiring.Signature:
    """The side of what writes zeros into all tiles while nobody else writes: `addr` counts while
    `valid`, for as many cycles as there are tiles or more, and C cycles longer.
    """
    return wiring.Signature({"valid": Out(1), "addr": Out(range(hw.tiles))})


class Tiles(wiring.Component):
    """hw.tiles words of R x C int8, byte c * R + r is row r, column c.

    So a block RAM of 32 bits serves one column or a part of it, whose multipliers stand side by
    side, and not some bytes of columns far from each other.

    What is written passes a register (`Scratchpad`, for the same reason). A byte must not be needed
    that is read in the cycle after its write, when it reaches the RAM (`block_ram`). Simulation
    gives the old one, and with poison = True its complement.

    Parameters
    ----------
    hw : Hardware
        the array's size, how many tiles there are
    poison : bool
        spoil what is read in the cycle after its write

    Members
    -------
    epilogue : In, lane_writer
        keys and values
    weights : In, weight_writer
        weights
    clear : In, tile_clearer
        zeros after a reset, before the others write; column c has those of the tile that `addr`
        names c + 2 cycles after `valid`
    array : In, tile_reader
        what is multiplied

    Latency
    -------
    A tile read is there two cycles later, with what was written two cycles before its `addr`.

    Throughput
    ----------
    A read and a write a cycle.

    Back-pressure
    -------------
    `weights` is refused while the epilogue writes; the others never are.
    """

    def __init__(self, hw: Hardware, poison: bool = False):
        self.hw, self.poison = hw, poison
        super().__init__(
            {
                "epilogue": In(lane_writer(hw)),
                "weights": In(weight_writer(hw)),
                "clear": In(tile_clearer(hw)),
                "array": In(tile_reader(hw)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        hw, lanes, weights, clear = self.hw, self.epilogue, self.weights, self.clear
        m.submodules.memory = ram = block_ram(INT8.width * hw.tile_bytes, hw.tiles)
        read, write = ram.read_port(), ram.write_port(granularity=INT8.width)
        # a block RAM answers late, its own output register at once
        word = Signal.like(read.data, reset_less=True)
        m.d.sync += word.eq(self._read(m, read, write))
        m.d.comb += [read.addr.eq(self.array.addr), self.array.data.eq(word)]

        # the piece of a row or column that the epilogue writes: one bit a row, one bit a column
        piece = Signal(hw.cols)
        m.d.comb += piece.eq(lanes.mask << lanes.at)
        one = Signal(hw.cols)
        m.d.comb += one.eq(Const(1, 1) << lanes.lane)
        rows, columns = Mux(lanes.kind, one, piece), Mux(lanes.kind, piece, one)
        lane_mask = packed((columns[c].replicate(hw.rows) for c in range(hw.cols)), hw.rows)
        lane_mask = lane_mask & rows[: hw.rows].replicate(hw.cols)
        pieces = hw.tile_bytes // hw.bus_bytes
        beat_mask = Cat((weights.beat == n).replicate(hw.bus_bytes) for n in range(pieces))
        addr, mask = (
            Signal.like(write.addr, reset_less=True),
            Signal.like(write.en, reset_less=True),
        )
        # each column is cleared a cycle after the one before it: no wire crosses the chip for it;
        # this happens while the units are in reset
        clears, clearing = Signal(hw.cols, reset_less=True), Signal(reset_less=True)
        following = Cat(clear.valid, clears)[: hw.cols]
        m.d.sync += [clears.eq(following), clearing.eq(following.any())]
        clear_mask = Cat(bit.replicate(hw.rows) for bit in clears)
        m.d.comb += [
            weights.ready.eq(~lanes.valid),
            write.addr.eq(addr),
            write.data.eq(self._bytes(m, clearing)),
            write.en.eq(mask),
        ]
        m.d.sync += [
            addr.eq(Mux(lanes.valid, lanes.tile, Mux(weights.valid, weights.tile, clear.addr))),
            mask.eq(Mux(lanes.valid, lane_mask, Mux(weights.valid, beat_mask, clear_mask))),
        ]
        return m

    def _bytes(self, m: Module, clearing: Value) -> Value:
        """The tile written, in registers: a byte of the epilogue goes to every column (keys) or to
        every row (values), one of a beat to each of its places. So bytes repeat, and those that are
        the same share a register.
        """
        hw, lanes = self.hw, self.epilogue
        registers: dict[tuple[int, int, int], Signal] = {}
        word = []
        for c in range(hw.cols):
            for r in range(hw.rows):
                sources = c % hw.lanes, r % hw.lanes, (c * hw.rows + r) % hw.bus_bytes
                if sources not in registers:
                    across, down, n = sources
                    name = f"byte_{across}_{down}_{n}"
                    registers[sources] = byte = Signal(INT8.width, name=name, reset_less=True)
                    of_beat = self.weights.data.word_select(n, INT8.width)
                    of_lane = Mux(lanes.kind, lanes.data[across], lanes.data[down])
                    other = Mux(clearing, 0, of_beat)
                    m.d.sync += byte.eq(Mux(lanes.valid, of_lane, other))
                word.append(registers[sources])
        return Cat(word)

    def _read(self, m: Module, read, write) -> Value:
        """The word read; with `poison` what reaches the RAM in the same cycle is inverted."""
        if not self.poison:
            return read.data
        collided = Signal.like(write.en)
        m.d.sync += collided.eq(Mux(read.addr == write.addr, write.en, 0))
        columns = []
        for c in range(self.hw.cols):  # each by itself: Verilator refuses a line of all of `large`
            bits = collided[c * self.hw.rows : (c + 1) * self.hw.rows]
            spoiled = Cat(bit.replicate(INT8.width) for bit in bits)
            columns.append(read.data.word_select(c, len(spoiled)) ^ spoiled)
        return Cat(columns)
