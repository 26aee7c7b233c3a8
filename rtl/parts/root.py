"""1 / sqrt(V) of a LayerNorm row: integer root, then its reciprocal, several rows in flight.

Every stage takes a fixed number of cycles from its start pulse to its done pulse and holds another
row than its neighbours. Rows arrive at least `interval` cycles apart, so no stage is ever asked
for a row while it works on one: no handshakes are needed inside.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, ShapeLike, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import NORM_RECIPROCAL, ROOT_BITS, ceil_log2

from .division import radix_4
from .shifter import shifted_up

DIGITS = 2  # root and quotient digits a cycle: radix 4


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
    R : Out, uint17
        the root's reciprocal, with `done`
    shift : Out, range
        its exponent; stays, with the next, until the next row reaches that stage
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
        V, tags = Signal(2 * c.pairs, reset_less=True), []
        for n in range(2):
            tags.append(Signal.like(self.tag, name=f"tag{n}", reset_less=True))
        with m.If(self.start):
            m.d.sync += [V.eq(self.V), tags[0].eq(self.tag)]
        v, zeros = shifted_up(m, V, digit=2)
        normalized = sequence(m, self.start, c.search + 1, "normalize")[-1]

        # Root: bring down two pairs, subtract what belongs to the largest digit that goes. With the
        # digits so far r, digit d adds d (8 r + d) to the square: 8 r + 1, 16 r + 4 or
        # 8 (3 r + 1) + 1
        digits = Signal(2 * ROOT_BITS, reset_less=True)
        remainder = Signal(ROOT_BITS + 1, reset_less=True)  # <= 2 root
        root = Signal(ROOT_BITS, reset_less=True)
        triple = Signal(ROOT_BITS + 2, reset_less=True)  # 3 root + 1
        shift = Signal.like(self.shift, reset_less=True)
        rooted = sequence(m, normalized, c.cycles + 1, "rooting")[-1]
        squares = (Cat(Const(1, 3), root), Cat(Const(4, 4), root), Cat(Const(1, 3), triple))
        down = Cat(digits[-2 * DIGITS :], remainder)
        found = radix_4(m, down, squares, len(remainder), "root")
        # 3 (4 r + d) + 1 = 4 (3 r + 1) + 3 (d - 1)
        triples = [
            Cat(Const(1, 2), (triple - 1)[: len(triple)]),
            Cat(Const(0, 2), triple),
            Cat(Const(3, 2), triple),
            Cat(Const(2, 2), (triple + 1)[: len(triple)]),
        ]
        m.d.sync += [  # after `rooted` they run on, nobody looks
            digits.eq(digits << 2 * DIGITS),
            remainder.eq(found.rest),
            root.eq(Cat(found.bits, root)),
            triple.eq(found.choose(triples)),
        ]
        with m.If(normalized):
            m.d.sync += [
                digits.eq(v[-2 * ROOT_BITS :]),
                remainder.eq(0),
                root.eq(0),
                triple.eq(1),
                shift.eq(c.pairs - 1 - zeros),
                tags[1].eq(tags[0]),
            ]

        # Reciprocal: long division of 2^33 = 2^15 * 2^18 in 18 digits; the first is always 0.
        divisor, quotient = Signal.like(root, reset_less=True), Signal.like(root, reset_less=True)
        divisor_triple = Signal(ROOT_BITS + 2, reset_less=True)
        dividend = Signal.like(root, reset_less=True)  # < divisor
        divided = sequence(m, rooted, c.cycles + 1, "dividing")[-1]
        multiples = (divisor, Cat(Const(0, 1), divisor), divisor_triple)
        down = Cat(Const(0, DIGITS), dividend)
        found = radix_4(m, down, multiples, len(dividend), "quotient")
        m.d.sync += [dividend.eq(found.rest), quotient.eq(Cat(found.bits, quotient))]
        with m.If(rooted):
            m.d.sync += [divisor.eq(root), divisor_triple.eq(triple - 1)]
            m.d.sync += [dividend.eq(1 << 15), quotient.eq(0)]
            m.d.sync += [self.shift.eq(shift), self.tag_out.eq(tags[1])]
        m.d.comb += [self.R.eq(quotient), self.done.eq(divided)]
        return m
