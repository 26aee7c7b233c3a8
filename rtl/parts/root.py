"""1 / sqrt(V) of a LayerNorm row: integer root, then its reciprocal, several rows in flight.

Every stage takes a fixed number of cycles from its start pulse to its done pulse and holds another
row than its neighbours. Rows arrive at least `interval` cycles apart, so no stage is ever asked
for a row while it works on one: no handshakes are needed inside.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, ShapeLike, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import NORM_RECIPROCAL, ROOT_BITS, ceil_log2

DIGITS = 2  # root and quotient digits a cycle: two subtractions in a row


def sequence(m: Module, start, steps: int, name: str) -> Signal:
    """One-hot: bit k is 1 in the cycle number k + 1 after `start`. A shift register of pulses."""
    phase = Signal(steps, name=name)
    m.d.sync += phase.eq(Cat(start, phase))
    return phase


@dataclass(frozen=True)
class InverseRootConfig:
    """width: bits of V; tag: shape of a value that travels along with its row."""

    width: int
    tag: ShapeLike

    @property
    def pairs(self) -> int:
        """Pairs of bits of V, at least those of V'."""
        return max(-(-self.width // 2), ROOT_BITS)

    @property
    def search(self) -> int:
        """Steps of the normalization."""
        return ceil_log2(self.pairs)

    @property
    def cycles(self) -> int:
        """Steps of the root, and of the reciprocal."""
        return ROOT_BITS // DIGITS

    @property
    def latency(self) -> int:
        return (self.search + 1) + 2 * (self.cycles + 1)  # each stage has an input register

    @property
    def interval(self) -> int:
        return max(self.search, self.cycles) + 1


class InverseRoot(wiring.Component):
    """1 / sqrt(V) = R * 2^-(16 + shift), R = floor(2^33 / floor(sqrt(V'))), V' = V normalized.

    V' = V * 4^(17 - shift) lies in [2^34, 2^36); shift is the place of the highest nonzero pair of
    bits of V. For V = 0 the outputs are meaningless; the row's D are 0 then, whatever they meet.
    Three stages: normalize by binary search, root and reciprocal two digits a cycle.

    Parameters
    ----------
    parameters : InverseRootConfig
        width of V, shape of what travels along

    Members
    -------
    start : In, 1
        takes V and tag
    V : In, unsigned
        the variance
    tag : In, parameters.tag
        travels along with its row
    done : Out, 1
        pulse: the result is there
    R : Out, uint18
        the root's reciprocal; stays, with the next two, until the next row reaches that stage
    shift : Out, range
        its exponent
    tag_out : Out, parameters.tag
        of the same row

    Latency
    -------
    `latency` cycles from `start` to `done`.

    Throughput
    ----------
    A row every `interval` cycles; starts must not come closer.

    Back-pressure
    -------------
    None: the parent stops the clock of the whole component (`rtl.blocks.layernorm`).
    """

    def __init__(self, parameters: InverseRootConfig):
        self.parameters = parameters
        super().__init__(
            {
                "start": In(1),
                "V": In(parameters.width),
                "tag": In(parameters.tag),
                "done": Out(1),
                "R": Out(NORM_RECIPROCAL.width),
                "shift": Out(range(parameters.pairs)),
                "tag_out": Out(parameters.tag),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.parameters

        # Normalize: where the top 2^k pairs are zero, shift them out; k = 4, 3, .. 0.
        v = Signal(2 * c.pairs, reset_less=True)
        zeros = Signal(c.search)  # leading zero pairs
        tags = [Signal.like(self.tag, name=f"tag{n}", reset_less=True) for n in range(2)]
        phase = sequence(m, self.start, c.search + 1, "normalize")
        with m.If(self.start):
            m.d.sync += [v.eq(self.V), zeros.eq(0), tags[0].eq(self.tag)]
        for n, k in enumerate(reversed(range(c.search))):
            with m.If(phase[n] & (v[-2 << k :] == 0)):
                m.d.sync += [v.eq(v << (2 << k)), zeros[k].eq(1)]
        normalized = phase[-1]

        # Root: bring down a pair, try to subtract (2 root + 1): the schoolbook method.
        digits = Signal(2 * ROOT_BITS, reset_less=True)
        remainder = Signal(ROOT_BITS + 1, reset_less=True)  # <= 2 root
        root = Signal(ROOT_BITS, reset_less=True)
        shift = Signal.like(self.shift, reset_less=True)
        phase = sequence(m, normalized, c.cycles + 1, "rooting")
        rest, found = remainder, root
        for n in range(DIGITS):
            pair = digits[2 * (ROOT_BITS - 1 - n) :][:2]
            rest, found = self.digit(m, f"root{n}", Cat(pair, rest), Cat(Const(1, 2), found), found)
        with m.If(normalized):
            m.d.sync += [
                digits.eq(v[-2 * ROOT_BITS :]),
                remainder.eq(0),
                root.eq(0),
                shift.eq(c.pairs - 1 - zeros),
                tags[1].eq(tags[0]),
            ]
        with m.If(phase[: c.cycles].any()):
            m.d.sync += [digits.eq(digits << 2 * DIGITS), remainder.eq(rest), root.eq(found)]
        rooted = phase[-1]

        # Reciprocal: long division of 2^33 = 2^15 * 2^18 in 18 digits; the first is always 0.
        divisor, quotient = Signal.like(root, reset_less=True), Signal.like(root, reset_less=True)
        dividend = Signal.like(root, reset_less=True)  # < divisor
        phase = sequence(m, rooted, c.cycles + 1, "dividing")
        rest, found = dividend, quotient
        for n in range(DIGITS):
            rest, found = self.digit(m, f"quotient{n}", Cat(Const(0, 1), rest), divisor, found)
        with m.If(rooted):
            m.d.sync += [divisor.eq(root), dividend.eq(1 << 15), quotient.eq(0)]
            m.d.sync += [self.shift.eq(shift), self.tag_out.eq(tags[1])]
        with m.If(phase[: c.cycles].any()):
            m.d.sync += [dividend.eq(rest), quotient.eq(found)]
        m.d.comb += [self.R.eq(quotient), self.done.eq(phase[-1])]
        return m

    @staticmethod
    def digit(m: Module, name: str, minuend, subtrahend, found):
        """Subtract if it goes: the new remainder, and `found` with the digit appended."""
        rest = Signal(ROOT_BITS + 1, name=f"{name}_rest")
        digit = Signal(name=f"{name}_digit")
        m.d.comb += [
            digit.eq(minuend >= subtrahend),
            rest.eq(Mux(digit, minuend - subtrahend, minuend)),
        ]
        return rest, Cat(digit, found)[:ROOT_BITS]
