"""An on-chip memory with one read and one write port, shared by priority."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from .ports import read_port, write_port

# Tells Yosys that nothing is needed that is read in the cycle in which it is written
# (docs/accelerator.md: units wait until what they read is written). Without it Yosys builds the old
# word by registers and a multiplexer around the block RAMs: 2,313 flip-flops and 1,421 LUTs for
# tiles of 8 x 16 bytes.
NO_COLLISIONS = {"no_rw_check": 1}

READ = 2  # cycles from a read to its word

# Bits of one memory: Yosys's time grows with the square of a memory's write enables (128 of them:
# 42 s instead of 4), and Verilator is faster with a machine word than with a wide array.
SLICE = 64


class Scratchpad(wiring.Component):
    """`depth` words of `width` bits, written in granules of `granularity` bits.

    A granule must not be needed that is read in the cycle in which it is written: block RAMs then
    give anything (`NO_COLLISIONS`). Simulation gives the old one, and with poison = True its
    complement, so that a run that needs it goes wrong there too.

    Parameters
    ----------
    depth, width, granularity : int
        words, bits of a word, bits of a granule
    readers, writers : int
        how many ports there are of each kind
    poison : bool
        spoil what is read in the cycle of its write

    Members
    -------
    readers : In, array of read_port
        the clients' sides, the first has the highest priority
    writers : In, array of write_port
        the same

    Latency
    -------
    A word read is there READ = 2 cycles later; a word written can be read in the next cycle.

    Throughput
    ----------
    A read and a write a cycle.

    Back-pressure
    -------------
    A port is refused while one before it in its list is valid; the first one never is.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        granularity: int,
        readers: int,
        writers: int,
        poison: bool = False,
    ):
        self.depth, self.width, self.granularity = depth, width, granularity
        self.poison = poison
        super().__init__(
            {
                "readers": In(read_port(depth, width)).array(readers),
                "writers": In(write_port(depth, width, granularity)).array(writers),
            }
        )

    def elaborate(self, platform):
        m = Module()
        slices = []
        for start in range(0, self.width, SLICE):
            width = min(SLICE, self.width - start)
            ram = memory.Memory(shape=width, depth=max(self.depth, 2), init=[], attrs=NO_COLLISIONS)
            m.submodules[f"memory{start // SLICE}"] = ram
            slices.append((ram.read_port(), ram.write_port(granularity=self.granularity)))
        reads, writes = zip(*slices, strict=True)
        for ports, names in ((self.readers, ("addr",)), (self.writers, ("addr", "data", "mask"))):
            taken = Const(0)
            chosen = {name: getattr(ports[-1], name) for name in names}
            for port in ports:
                m.d.comb += port.ready.eq(~taken)
                taken = taken | port.valid
            for port in reversed(ports[:-1]):
                chosen = {n: Mux(port.valid, getattr(port, n), v) for n, v in chosen.items()}
            used = Signal(name=f"{'read' if ports is self.readers else 'write'}")
            m.d.comb += used.eq(taken)
            if ports is self.readers:
                for read in reads:
                    m.d.comb += [read.en.eq(used), read.addr.eq(chosen["addr"])]
            else:
                mask = Signal(self.width // self.granularity)
                m.d.comb += mask.eq(Mux(used, chosen["mask"], 0))
                m.d.comb += Cat(write.en for write in writes).eq(mask)
                m.d.comb += Cat(write.data for write in writes).eq(chosen["data"])
                m.d.comb += [write.addr.eq(chosen["addr"]) for write in writes]
        words = Cat(read.data for read in reads)
        if self.poison:
            (read, write), collided = slices[0], Signal.like(mask)  # all slices: the same addresses
            with m.If(read.en):
                m.d.sync += collided.eq(Mux(read.addr == write.addr, mask, 0))
            words = words ^ Cat(bit.replicate(self.granularity) for bit in collided)
        # a block RAM answers late, its own output register at once
        data = Signal.like(words, reset_less=True)
        m.d.sync += data.eq(words)
        for port in self.readers:
            m.d.comb += port.data.eq(data)
        return m
