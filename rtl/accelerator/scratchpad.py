"""An on-chip memory with one read and one write port, shared by priority."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from .ports import read_port, write_port

# Tells Yosys that nothing is needed that is read in the cycle in which a block RAM is written
# (docs/accelerator.md: units wait until what they read is written). Without it Yosys builds the old
# word by registers and a multiplexer around the block RAMs: 2,313 flip-flops and 1,421 LUTs for
# tiles of 8 x 16 bytes.
NO_COLLISIONS = {"no_rw_check": 1}

READ = 2  # cycles from a read to its word
WRITE = 2  # cycles from a write to the first read that finds it

# Bits of one memory: Yosys's time grows with the square of a memory's write enables (128 of them:
# 42 s instead of 4), and Verilator is faster with a machine word than with a wide array.
SLICE = 64


class Scratchpad(wiring.Component):
    """`depth` words of `width` bits, written in granules of `granularity` bits.

    What is written passes a register, for the way to the block RAMs may lead across the chip. A
    granule must not be needed that is read in the cycle after its write, when it reaches them:
    block RAMs then give anything (`NO_COLLISIONS`). Simulation gives the old one, and with poison =
    True its complement, so that a run that needs it goes wrong there too.

    Parameters
    ----------
    depth, width, granularity : int
        words, bits of a word, bits of a granule
    readers, writers : int
        how many ports there are of each kind
    poison : bool
        spoil what is read in the cycle after its write

    Members
    -------
    readers : In, array of read_port
        the clients' sides, the first has the highest priority
    writers : In, array of write_port
        the same

    Latency
    -------
    A word read is there READ = 2 cycles later; a word written can be read WRITE = 2 cycles later.

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
        _, address = chosen(m, self.readers, "addr")
        m.d.comb += [read.addr.eq(address) for read in reads]  # in every cycle: no way to an enable
        used, *wanted = chosen(m, self.writers, "addr", "data", "mask")
        addr, data, mask = (Signal(len(value), reset_less=True) for value in wanted)
        m.d.sync += [addr.eq(wanted[0]), data.eq(wanted[1]), mask.eq(Mux(used, wanted[2], 0))]
        m.d.comb += [
            *(write.addr.eq(addr) for write in writes),
            Cat(write.data for write in writes).eq(data),
            Cat(write.en for write in writes).eq(mask),
        ]
        words = Cat(read.data for read in reads)
        if self.poison:
            (read, write), collided = slices[0], Signal.like(mask)  # all slices: the same addresses
            m.d.sync += collided.eq(Mux(read.addr == write.addr, mask, 0))
            words = words ^ Cat(bit.replicate(self.granularity) for bit in collided)
        # a block RAM answers late, its own output register at once
        word = Signal.like(words, reset_less=True)
        m.d.sync += word.eq(words)
        for port in self.readers:
            m.d.comb += port.data.eq(word)
        return m


def chosen(m: Module, ports, *names: str) -> list[Value]:
    """Is one of the ports valid, and the named members of the first one that is; all others are
    refused."""
    taken: Value = Const(0)
    members: list[Value] = [getattr(ports[-1], name) for name in names]
    for port in ports:
        m.d.comb += port.ready.eq(~taken)
        taken = taken | port.valid
    for port in reversed(ports[:-1]):
        members = [
            Mux(port.valid, getattr(port, name), member)
            for name, member in zip(names, members, strict=True)
        ]
    return [taken, *members]
