"""Zeros in the large memories after power-on, so that nothing is stored that was never written."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from fqvit_hw.formats import INT8, INT16, ceil_log2
from fqvit_hw.machine.hardware import Hardware

from .ports import write_port
from .tiles import tile_clearer


class Clear(wiring.Component):
    """Writes 0 into every word of activations, stream and tiles, from the reset on.

    Units write only the lanes of a word that a row has, but read and store whole words. What lies
    in the others counts nowhere (weights beyond a row's end are 0), yet it goes out to memory, and
    to a simulator with unknown values 0 times unknown is unknown. (Attention codes are written to
    the end of their words, and all other memories are read only where they were written.)

    Parameters
    ----------
    hw : Hardware
        the memories
    skip : bool
        write nothing and be `done` at once, for benches whose memories hold nonsense at first

    Members
    -------
    acts, stream : Out, write_port
        must not be refused until `done`
    tiles : Out, tile_clearer
        the same
    done : Out, 1
        the memories are other units' from now on

    Latency
    -------
    Everything comes from registers: the first word is written in the cycle after the reset, `done`
    rises `cycles` + 1 cycles after it, with `skip` in the reset.

    Throughput
    ----------
    A word of each memory a cycle, of tiles in the first half of the time.

    Back-pressure
    -------------
    None.
    """

    def __init__(self, hw: Hardware, skip: bool = False):
        self.hw, self.skip = hw, skip
        super().__init__(
            {
                "acts": Out(write_port(hw.acts, hw.rows * INT8.width, INT8.width)),
                "stream": Out(write_port(hw.stream, hw.cols * INT16.width, INT16.width)),
                "tiles": Out(tile_clearer(hw)),
                "done": Out(1, init=skip),
            }
        )

    @property
    def cycles(self) -> int:
        """The words of the largest memory, up to a power of two; of tiles twice as many."""
        return 1 << ceil_log2(max(self.hw.acts, self.hw.stream, 2 * self.hw.tiles))

    def elaborate(self, platform):
        m = Module()
        first = self.cycles if self.skip else 0
        word = Signal(range(2 * self.cycles), init=first)  # its highest bit: all are written
        m.d.sync += [word.eq(word + ~word[-1]), self.done.eq(word[-1])]
        for memory in (self.acts, self.stream):
            m.d.sync += [memory.valid.eq(~word[-1]), memory.addr.eq(word)]
            m.d.comb += memory.mask.eq(~0)
        # the last column of tiles hears of it C cycles later
        m.d.sync += [self.tiles.valid.eq(~word[-2:].any()), self.tiles.addr.eq(word)]
        return m
