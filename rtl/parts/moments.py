"""Statistics of a LayerNorm row: sum X and sum X^2 over all its beats, then V from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import LayerNormWidths

from .adder_tree import adder_tree, tree_latency
from .root import sequence

LIMB = 17  # partial products of 17-bit limbs fit an 18 x 18 signed multiplier


def moments_latency(lanes: int) -> int:
    """Registers of the squares, of the adder trees and of the accumulators."""
    return 1 + tree_latency(lanes) + 1


class Moments(wiring.Component):
    """total = sum X and sumsq = sum X^2 over the lanes and the beats of a row, both exact.

    Parameters
    ----------
    widths : LayerNormWidths
        the formats of X and of the sums, for the longest row
    lanes : int
        elements a beat

    Members
    -------
    x : In, array of X
        a beat; dead lanes are 0
    valid, first, last : In, 1
        there is a beat, and whether it is the row's first or last one
    done : Out, 1
        `total` and `sumsq` are those of a row, in this cycle only
    total : Out, signed
        sum of X
    sumsq : Out, unsigned
        sum of X^2

    Latency
    -------
    `latency` cycles from a row's last beat to `done`: the squares, the adder trees, the
    accumulators.

    Throughput
    ----------
    A beat every cycle, rows back to back.

    Back-pressure
    -------------
    None: the parent stops the clock of the whole component (`rtl.blocks.layernorm`).
    """

    def __init__(self, widths: LayerNormWidths, lanes: int):
        self.widths, self.lanes = widths, lanes
        self.latency = moments_latency(lanes)
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "x": In(data.ArrayLayout(signed(widths.X.width), lanes)),
                "done": Out(1),
                "total": Out(signed(widths.total.width)),
                "sumsq": Out(widths.sumsq.width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        mark = data.StructLayout({"valid": 1, "first": 1, "last": 1})
        marks = [Signal(mark, name=f"mark{n}") for n in range(self.latency - 1)]
        m.d.sync += [marks[0][name].eq(getattr(self, name)) for name in mark.members]
        m.d.sync += [after.eq(before) for before, after in pairwise(marks)]

        x = Signal.like(self.x, reset_less=True)  # beside its square
        square = unsigned(2 * self.widths.X.width - 1)  # of the most negative X, too
        squares = Signal(data.ArrayLayout(square, self.lanes), reset_less=True)
        m.d.sync += x.eq(self.x)
        m.d.sync += [squares[k].eq(self.x[k] * self.x[k]) for k in range(self.lanes)]

        end = marks[-1]
        m.d.sync += self.done.eq(end.valid & end.last)
        for name, array, sums in (("x", x, self.total), ("square", squares, self.sumsq)):
            term = adder_tree(m, [array[k] for k in range(self.lanes)], name)
            with m.If(end.valid):
                m.d.sync += sums.eq(Mux(end.first, 0, sums) + term)
        return m


@dataclass(frozen=True)
class VarianceConfig:
    """widths: LayerNormWidths of the longest row."""

    widths: LayerNormWidths

    @property
    def split(self) -> bool:
        """Does the total need two limbs? The top one is signed, so 18 bits need no second."""
        return self.widths.total.width > LIMB + 1

    @property
    def products(self) -> int:
        return -(-self.widths.sumsq.width // LIMB) + (3 if self.split else 1)

    @property
    def latency(self) -> int:
        return self.products + 4  # registers of the sums, the operands, the product and the term

    interval = latency


class Variance(wiring.Component):
    """V = channels * sumsq - total^2 + eps on one 18 x 18 multiplier, a partial product a cycle.

    Parameters
    ----------
    parameters : VarianceConfig
        the formats of the longest row

    Members
    -------
    start : In, 1
        takes `total` and `sumsq`
    total : In, signed
        of up to `widths.channels` channels
    sumsq : In, unsigned
        of the same row
    channels_in : In, range
        channels of a row; holds still
    eps : In, V
        eps' of the layer; holds still
    done : Out, 1
        pulse: the result is there
    V : Out, unsigned
        exact; stays until the next start
    total_out : Out, signed
        of the same row; stays as long

    Latency
    -------
    `latency` cycles from `start` to `done`.

    Throughput
    ----------
    A row every `interval` cycles; starts must not come closer.

    Back-pressure
    -------------
    None, see `Moments`.
    """

    def __init__(self, parameters: VarianceConfig):
        self.parameters, w = parameters, parameters.widths
        super().__init__(
            {
                "start": In(1),
                "total": In(signed(w.total.width)),
                "sumsq": In(w.sumsq.width),
                "channels_in": In(range(w.channels + 1)),
                "eps": In(w.V.width),
                "done": Out(1),
                "V": Out(w.V.width),
                "total_out": Out(signed(w.total.width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        sumsq = Signal.like(self.sumsq, reset_less=True)
        total = self.total_out
        steps = [  # (a, b, shift, subtract)
            (sumsq[n : n + LIMB], self.channels_in, n, False) for n in range(0, len(sumsq), LIMB)
        ]
        if self.parameters.split:
            low, high = total[:LIMB], total[LIMB:].as_signed()
            steps += [
                (low, low, 0, True),
                (high, low, LIMB + 1, True),
                (high, high, 2 * LIMB, True),
            ]
        else:
            steps += [(total, total, 0, True)]

        phase = sequence(m, self.start, self.parameters.latency, "phase")
        m.d.comb += self.done.eq(phase[-1])
        with m.If(self.start):
            m.d.sync += [sumsq.eq(self.sumsq), total.eq(self.total), self.V.eq(self.eps)]
        # the registers of operands and product can be the multiplier's own
        a, b = (Signal(signed(LIMB + 1), name=name, reset_less=True) for name in "ab")
        left, right = Signal.like(a, name="left"), Signal.like(b, name="right")
        product = Signal(signed(2 * (LIMB + 1)), reset_less=True)
        term, subtract = Signal.like(self.V, reset_less=True), Signal(reset_less=True)
        m.d.sync += [a.eq(left), b.eq(right), product.eq(a * b)]
        terms, negatives = [], []  # one of each is not 0
        for n, (first, second, shift, negative) in enumerate(steps):
            with m.If(phase[n]):
                m.d.comb += [left.eq(first), right.eq(second)]
            terms.append(Mux(phase[n + 2], product << shift, 0))
            negatives.append(phase[n + 2] & negative)
        m.d.sync += [term.eq(reduce(or_, terms)), subtract.eq(Cat(negatives).any())]
        with m.If(phase[3 : 3 + len(steps)].any()):  # modulo 2^width: only the result has to fit V
            m.d.sync += self.V.eq(Mux(subtract, self.V - term, self.V + term))
        return m
