"""Residual add lanes: the stream and the branch at their own scales, one rounding, one saturation.

Arithmetic: `fqvit_hw.units.residual`, docs/datapath.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import INT8, PTF_BITS, PTF_MAX, RESIDUAL_MULTIPLIER, SHIFT, IntFormat

from ..parts.checks import check_fields
from ..parts.pipeline import half_up, pipeline, saturate
from ..parts.shifter import SHIFT_LATENCY, shift_right

# X, Y: 16 bits at most; M: 17 bits unsigned. |X * M| < 2^15 * 2^17: 33 bits, their sum 34.
RESIDUAL_PRODUCT = IntFormat(16 + RESIDUAL_MULTIPLIER.width)
RESIDUAL_SUM = IntFormat(RESIDUAL_PRODUCT.width + 1)


@dataclass(frozen=True)
class ResidualConfig:
    """lanes: elements a beat; x_width, branch_width, width: bits of inputs and output, 8 or 16.

    flexible: one block for all widths, each chosen by the values that come: 8-bit codes are
    sign-extended to 16 bits, a 16-bit tensor has zero 0 and factors 0, and `config.wide` says
    whether the output has 16 bits. The three widths are 16 then.
    """

    lanes: int
    x_width: int = 8
    branch_width: int = 8
    width: int = 8
    flexible: bool = False

    def __post_init__(self):
        check_fields(self)
        for name in ("x_width", "branch_width", "width"):
            value = getattr(self, name)
            if value not in (8, 16):
                raise ValueError(f"ResidualConfig.{name}: expected 8 or 16, got {value}")
            if self.flexible and value != 16:
                raise ValueError(f"ResidualConfig.{name}: expected 16 if flexible, got {value}")

    @property
    def layer(self) -> data.StructLayout:
        layout = {
            "x_zero": signed(INT8.width),
            "branch_zero": signed(INT8.width),
            "x_multiplier": unsigned(RESIDUAL_MULTIPLIER.width),
            "branch_multiplier": unsigned(RESIDUAL_MULTIPLIER.width),
            "shift": unsigned(SHIFT.width),
            "zero": signed(INT8.width),
        }
        return data.StructLayout(layout | ({"wide": 1} if self.flexible else {}))

    @property
    def i(self) -> data.StructLayout:
        """The PTF factors come with the elements: the block holds no parameters."""
        lane = data.StructLayout(
            {
                "x": signed(self.x_width),
                "branch": signed(self.branch_width),
                "x_factor": unsigned(PTF_BITS),
                "factor": unsigned(PTF_BITS),
            }
        )
        return data.StructLayout({"lanes": data.ArrayLayout(lane, self.lanes)})

    @property
    def o(self) -> data.StructLayout:
        return data.StructLayout({"data": data.ArrayLayout(signed(self.width), self.lanes)})


class Residual(wiring.Component):
    """y = saturate(rshift_round(X * x_multiplier + Y * branch_multiplier, shift + factor) + zero)

    with X = (x - x_zero) << x_factor and Y = branch - branch_zero, half up, on every lane.

    A 16-bit tensor has zero 0 and no PTF factors: a block that is not flexible does not look at the
    zero and the factors of one; a flexible one keeps X and Y to 16 bits.

    Parameters
    ----------
    parameters : ResidualConfig
        lanes, widths of inputs and output

    Members
    -------
    config : In, ResidualConfig.layer
        zeros, multipliers and shift (above 40: outside the contract), wide if flexible
    i : In, stream of {lanes: {x, branch, x_factor, factor}}
        the residual stream, the branch and their PTF factors
    o : Out, stream of {data}
        codes of `width` bits x lanes

    Latency
    -------
    7, from a beat on `i` to the same one on `o`.

    Throughput
    ----------
    A beat every cycle.

    Back-pressure
    -------------
    Stalls as a whole while a beat on `o` is not taken.
    """

    latency = 5 + SHIFT_LATENCY  # X and Y, products, their sum, the shift, rounded, saturated

    def __init__(self, parameters: ResidualConfig):
        self.parameters = parameters
        super().__init__(
            {
                "config": In(parameters.layer),
                "i": In(stream.Signature(parameters.i)),
                "o": Out(stream.Signature(parameters.o)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        advance = pipeline(m, self.i, self.o, self.latency)
        layer, c = self.config, self.parameters
        ptf_in, coded, ptf_out = (
            c.flexible or width == 8 for width in (c.x_width, c.branch_width, c.width)
        )
        # |code - zero| <= 255: 9 bits signed
        x_bits = 9 + PTF_MAX if c.x_width == 8 else 16
        branch_bits = 9 if c.branch_width == 8 else 16
        zero = layer.zero if ptf_out else Const(0, signed(1))

        for n in range(c.lanes):
            lane = self.i.payload.lanes[n]

            def register(name: str, width: int, n: int = n) -> Signal:
                return Signal(signed(width), name=f"{name}{n}", reset_less=True)

            X, Y = register("x", x_bits), register("branch", branch_bits)
            x_product = register("x_product", RESIDUAL_PRODUCT.width)
            branch_product = register("branch_product", RESIDUAL_PRODUCT.width)
            total = register("total", RESIDUAL_SUM.width)
            rounded = register("rounded", RESIDUAL_SUM.width + 1)
            shift = [Signal(SHIFT.width, name=f"shift{n}_{k}", reset_less=True) for k in range(3)]
            with m.If(advance):
                m.d.sync += [
                    X.eq((lane.x - layer.x_zero) << lane.x_factor if ptf_in else lane.x),
                    Y.eq(lane.branch - layer.branch_zero if coded else lane.branch),
                    shift[0].eq(layer.shift + lane.factor if ptf_out else layer.shift),
                    x_product.eq(X * layer.x_multiplier),
                    branch_product.eq(Y * layer.branch_multiplier),
                    shift[1].eq(shift[0]),
                    total.eq(x_product + branch_product),
                    shift[2].eq(shift[1]),
                ]
            # rshift_round(x, n) = ((2x >> n) + 1) >> 1, with no exception for n = 0
            doubled = shift_right(m, advance, total << 1, shift[2], f"doubled{n}")
            y = saturate(rounded, IntFormat(c.width))
            if c.flexible:
                y = Mux(layer.wide, y, saturate(rounded, INT8))
            with m.If(advance):
                m.d.sync += [
                    rounded.eq(half_up(doubled, zero)),
                    self.o.payload.data[n].eq(y),
                ]
        return m
