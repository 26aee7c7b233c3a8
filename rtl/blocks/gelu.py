"""GELU lanes: a table lookup on [-4, 4), a requantize from 4 on, the code of 0 below -4.

Arithmetic: `fqvit_hw.units.gelu`, docs/datapath.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import GELU_INDEX_WIDTHS, GELU_INPUT, INT8, MULTIPLIER, SHIFT, IntFormat

from ..parts.checks import check_fields
from ..parts.pipeline import delayed, half_up, pipeline, saturate
from ..parts.shifter import SHIFT_LATENCY, shift_right

# Only x >= 2^(index_width - 1) is requantized: 15 bits without the sign, x * multiplier < 2^31
LINEAR_PRODUCT = IntFormat(GELU_INPUT.width - 1 + MULTIPLIER.width, False)


@dataclass(frozen=True)
class GeluConfig:
    """lanes: elements a beat; index_width: the table has 2^index_width entries, 8, 10 or 12."""

    lanes: int
    index_width: int = 12

    def __post_init__(self):
        check_fields(self)
        if self.index_width not in GELU_INDEX_WIDTHS:
            raise ValueError(
                f"GeluConfig.index_width: expected one of {GELU_INDEX_WIDTHS}, "
                f"got {self.index_width}"
            )

    @property
    def layer(self) -> data.StructLayout:
        """The layer's requantize for pre-activations of 4 and more; zero is also the code of 0."""
        return data.StructLayout(
            {
                "multiplier": unsigned(MULTIPLIER.width),
                "shift": unsigned(SHIFT.width),
                "zero": signed(INT8.width),
            }
        )

    @property
    def table(self) -> data.StructLayout:
        """addr is the pre-activation + 2^(index_width - 1)."""
        return data.StructLayout({"addr": unsigned(self.index_width), "data": signed(INT8.width)})

    @property
    def i(self) -> data.StructLayout:
        return data.StructLayout({"data": data.ArrayLayout(signed(GELU_INPUT.width), self.lanes)})

    @property
    def o(self) -> data.StructLayout:
        return data.StructLayout({"data": data.ArrayLayout(signed(INT8.width), self.lanes)})


class Gelu(wiring.Component):
    """y = table[x], or saturate(rshift_round(x * multiplier, shift) + zero), or zero.

    Two lanes read one copy of the table, through the two ports of a block RAM; writes go to all
    copies, through the even lane's port. A write enters as the pre-activation that it stands for,
    so the table is to be written while no beat is inside (docs/rtl.md: before the first input
    beat). It keeps its content through a reset.

    Parameters
    ----------
    parameters : GeluConfig
        lanes, size of the table

    Members
    -------
    config : In, GeluConfig.layer
        multiplier, shift and zero; shift 0 and above 47 are outside the contract
    table : In, stream of {addr, data}
        writes, always taken; addr is the pre-activation + 2^(index_width - 1)
    i : In, stream of {data}
        int16 x lanes: pre-activations
    o : Out, stream of {data}
        int8 x lanes

    Latency
    -------
    6, from a beat on `i` to the same one on `o`.

    Throughput
    ----------
    A beat every cycle.

    Back-pressure
    -------------
    Stalls as a whole while a beat on `o` is not taken.
    """

    latency = 4 + SHIFT_LATENCY  # x, its product, the shift, rounded, saturated

    def __init__(self, parameters: GeluConfig):
        self.parameters = parameters
        super().__init__(
            {
                "config": In(parameters.layer),
                "table": In(stream.Signature(parameters.table)),
                "i": In(stream.Signature(parameters.i)),
                "o": Out(stream.Signature(parameters.o)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.parameters
        advance = pipeline(m, self.i, self.o, self.latency)
        half = 1 << (c.index_width - 1)

        # Table writes take the same registers as a beat, so that the block RAM sees one address.
        write = Signal()
        entry_in = Signal(signed(INT8.width))
        m.d.comb += self.table.ready.eq(1)
        m.d.sync += [write.eq(self.table.valid), entry_in.eq(self.table.payload.data)]
        write_x = (self.table.payload.addr ^ half).as_signed()  # addr - half

        # rshift_round(x, n) = ((x >> (n - 1)) + 1) >> 1: no constant 2^(n-1) to decode
        shift = Signal(SHIFT.width)
        m.d.sync += shift.eq(self.config.shift - 1)

        memory = None
        for n in range(c.lanes):
            x = Signal(signed(GELU_INPUT.width), name=f"x{n}")
            if n % 2 == 0:
                memory = Memory(shape=signed(INT8.width), depth=2 * half, init=[])
                m.submodules[f"table{n}"] = memory
                port = memory.write_port()
                m.d.comb += [
                    port.addr.eq(_index(x, half)),
                    port.data.eq(entry_in),
                    port.en.eq(write),
                ]
                with m.If(advance | self.table.valid):
                    m.d.sync += x.eq(Mux(self.table.valid, write_x, self.i.payload.data[n]))
            else:
                with m.If(advance):
                    m.d.sync += x.eq(self.i.payload.data[n])
            read = memory.read_port()
            m.d.comb += [read.addr.eq(_index(x, half)), read.en.eq(advance & ~write)]

            below = [Signal(name=f"below{n}_{k}", reset_less=True) for k in range(2)]
            above = Signal(name=f"above{n}", reset_less=True)
            product = Signal(LINEAR_PRODUCT.width, name=f"product{n}", reset_less=True)
            entry = Signal(signed(INT8.width), name=f"entry{n}", reset_less=True)
            other = Signal(signed(INT8.width), name=f"other{n}", reset_less=True)
            rounded = Signal(signed(LINEAR_PRODUCT.width + 1), name=f"rounded{n}", reset_less=True)
            zero = self.config.zero
            with m.If(advance):
                m.d.sync += [
                    below[0].eq(x < -half),
                    above.eq(x >= half),
                    # the product of a negative x is wrong, and never used
                    product.eq(x[: GELU_INPUT.width - 1] * self.config.multiplier),
                    below[1].eq(below[0]),
                    entry.eq(read.data),
                    other.eq(Mux(below[1], zero, entry)),
                ]
            doubled = shift_right(m, advance, product, shift, f"doubled{n}")
            is_linear = delayed(m, advance, above, SHIFT_LATENCY + 1, f"linear{n}")
            beside = delayed(m, advance, other, 1, f"beside{n}")  # `rounded`, as is_linear
            with m.If(advance):
                m.d.sync += [
                    rounded.eq(half_up(Cat(doubled, Const(0, 1)).as_signed(), zero)),
                    self.o.payload.data[n].eq(Mux(is_linear, saturate(rounded, INT8), beside)),
                ]
        return m


def _index(x, half: int):
    """The table's address of a pre-activation in [-half, half): x + half, modulo 2 * half."""
    return x[: half.bit_length()] ^ half
