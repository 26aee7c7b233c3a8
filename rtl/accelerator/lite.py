"""The handshakes of an AXI4-Lite slave, built into the module of what has the registers.

Timing: a write is seen in the cycle after the later of AW and W was taken, with B in the next; R
comes two cycles after AR.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from .axi import LITE_DATA

WORD = ~(LITE_DATA // 8 - 1)  # of an address: without the byte in the register


@dataclass(frozen=True)
class Write:
    """A write in the one cycle in which it happens: `data` in the bytes of `strobe`."""

    valid: Value
    address: Value
    data: Value
    strobe: Value

    def to(self, register: int) -> Value:
        return self.valid & (self.address == register)

    @property
    def bits(self) -> Value:
        """The strobe bit by bit."""
        return Cat(bit.replicate(8) for bit in self.strobe)

    def over(self, old: Value) -> Value:
        """What a register becomes that is now `old`."""
        return (old & ~self.bits) | (self.data & self.bits)


def lite_writes(m: Module, axil) -> Write:
    """AW and W in any order, then B."""
    address, value = Signal.like(axil.awaddr), Signal(LITE_DATA)
    strobe, have_address, have_data = Signal(LITE_DATA // 8), Signal(), Signal()
    write = Signal()
    m.d.comb += [
        axil.awready.eq(~have_address),
        axil.wready.eq(~have_data),
        write.eq(have_address & have_data & ~axil.bvalid),
    ]
    with m.If(axil.awvalid & axil.awready):
        m.d.sync += [address.eq(axil.awaddr & WORD), have_address.eq(1)]
    with m.If(axil.wvalid & axil.wready):
        m.d.sync += [value.eq(axil.wdata), strobe.eq(axil.wstrb), have_data.eq(1)]
    with m.If(write):
        m.d.sync += [have_address.eq(0), have_data.eq(0), axil.bvalid.eq(1)]
    with m.Elif(axil.bready):
        m.d.sync += axil.bvalid.eq(0)
    return Write(write, address, value, strobe)


def lite_reads(m: Module, axil, registers: Mapping[int, Value]) -> None:
    """registers: what is read at each offset; 0 elsewhere. Which one it is takes a cycle, its bits
    the next.
    """
    chosen, decoded = Signal(len(registers)), Signal()
    m.d.comb += axil.arready.eq(~decoded & ~axil.rvalid)
    m.d.sync += [
        decoded.eq(axil.arvalid & axil.arready),
        chosen.eq(Cat((axil.araddr & WORD) == register for register in registers)),
    ]
    with m.If(decoded):
        shown = [Mux(bit, value, 0) for bit, value in zip(chosen, registers.values(), strict=True)]
        m.d.sync += [axil.rvalid.eq(1), axil.rdata.eq(reduce(or_, shown))]
    with m.Elif(axil.rready):
        m.d.sync += axil.rvalid.eq(0)
