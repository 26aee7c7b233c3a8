"""Requantize lanes: int32 accumulators become codes of 8 to 32 bits.

Arithmetic: `fqvit_hw.units.requantize`, docs/datapath.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import ACC, MULTIPLIER, PRODUCT, SHIFT, IntFormat

from ..parts.checks import check_fields
from ..parts.pipeline import delayed, half_up, pipeline, saturate
from ..parts.product import Product
from ..parts.shifter import SHIFT_LATENCY, shift_right


@dataclass(frozen=True)
class RequantizeConfig:
    """lanes: elements a beat; width: output bits, 8..32; wide_multipliers: of 27 x 18 bits."""

    lanes: int
    width: int = 8
    wide_multipliers: bool = False

    def __post_init__(self):
        check_fields(self)
        if not 8 <= self.width <= 32:
            raise ValueError(f"RequantizeConfig.width: expected 8..32, got {self.width}")

    @property
    def i(self) -> data.StructLayout:
        """Multiplier and shift come with the accumulator: the block holds no parameters."""
        lane = data.StructLayout(
            {
                "acc": signed(ACC.width),
                "multiplier": unsigned(MULTIPLIER.width),
                "shift": unsigned(SHIFT.width),
            }
        )
        return data.StructLayout(
            {"lanes": data.ArrayLayout(lane, self.lanes), "zero": signed(self.width)}
        )

    @property
    def o(self) -> data.StructLayout:
        return data.StructLayout({"data": data.ArrayLayout(signed(self.width), self.lanes)})


class Requantize(wiring.Component):
    """y = saturate(rshift_round(acc * multiplier, shift) + zero), half up, on every lane.

    Parameters
    ----------
    parameters : RequantizeConfig
        lanes, bits of the output

    Members
    -------
    i : In, stream of {lanes: {acc, multiplier, shift}, zero}
        accumulators with their scales; shift 0 and above 47 are outside the contract
    o : Out, stream of {data}
        codes of `width` bits x lanes

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

    latency = Product.latency + SHIFT_LATENCY + 2  # rounded, saturated

    def __init__(self, parameters: RequantizeConfig):
        self.parameters = parameters
        super().__init__(
            {"i": In(stream.Signature(parameters.i)), "o": Out(stream.Signature(parameters.o))}
        )

    def elaborate(self, platform):
        m = Module()
        c = self.parameters
        advance = pipeline(m, self.i, self.o, self.latency)
        fmt = IntFormat(c.width)
        zero = delayed(m, advance, self.i.payload.zero, self.latency - 2, "zero")
        for n in range(c.lanes):
            lane = self.i.payload.lanes[n]
            shift = Signal(SHIFT.width, name=f"shift{n}", reset_less=True)
            with m.If(advance):
                m.d.sync += shift.eq(lane.shift - 1)
            shift = delayed(m, advance, shift, Product.latency - 1, f"shift{n}")
            product = Product(
                m, advance, lane.acc, lane.multiplier, f"product{n}", c.wide_multipliers
            ).result
            # rshift_round(x, n) = ((x >> (n - 1)) + 1) >> 1: no constant 2^(n-1) to decode
            doubled = shift_right(m, advance, product, shift, f"doubled{n}")
            rounded = Signal(signed(PRODUCT.width), name=f"rounded{n}", reset_less=True)
            with m.If(advance):
                m.d.sync += [
                    rounded.eq(half_up(doubled, zero)),
                    self.o.payload.data[n].eq(saturate(rounded, fmt)),
                ]
        return m
