"""Dot products: operands times a tile, and an adder tree.

Shared by the stand-alone array (`rtl.blocks.mac_array`) and the accelerator's
(`rtl.accelerator.gemm`). BitShift, a product with a power of two, has two forms: the power of two
is an operand like any other (one bit of 15 is 1) where multipliers stand anyway, or the tile is
shifted in every cell. Without BitShift a multiplier of 27 x 18 bits can serve two cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data

from fqvit_hw.attention_codes import LIS4
from fqvit_hw.formats import BITSHIFT_FRACTION, CODE, INT8, OPERAND, ZERO_CODE, ceil_log2

from .adder_tree import balanced_sum
from .code_values import value_in
from .packed import packed
from .pair import Pair

AMOUNT_WIDTH = CODE.width + 1  # shift amounts 0..14; 31 (-1) shifts all bits out: zero


@dataclass(frozen=True)
class Dot:
    """sum over r of value[r] * tile[r][c], or of 2^(14 - code[r]) * tile[r][c], for every column c.

    rows, cols: of the tile; operand, weight: bits of values and tile; multiply, bitshift: the modes
    built in, at least one; shifters: BitShift by a shifter in every cell (always so without
    multiply); pairs: a multiplier makes the products of two columns (`rtl.parts.pair`), without
    BitShift. `stages` registers lie between operands and sums; the tile comes one later.
    """

    rows: int
    cols: int
    operand: int = OPERAND.width
    weight: int = OPERAND.width
    multiply: bool = True
    bitshift: bool = True
    shifters: bool = False
    pairs: bool = False

    def __post_init__(self):
        if self.pairs and (self.bitshift or self.weight > INT8.width):
            raise ValueError(
                "Dot.pairs: 27 x 18 bits hold two products of int9 x int8: expected no bitshift, "
                f"weights of {INT8.width} bits, got bitshift {self.bitshift}, {self.weight} bits"
            )

    @property
    def shifts(self) -> bool:
        """Are there shifters?"""
        return self.bitshift and (self.shifters or not self.multiply)

    @property
    def factor_width(self) -> int:
        """Of a multiplier's operand: a power of two has 15 bits and no sign."""
        one_hot = self.bitshift and not self.shifts
        return max(LIS4.value_bits + 1 if one_hot else 0, self.operand)

    @property
    def term_width(self) -> int:
        """(-2^8) * (-2^8) needs 18 bits; -2^8 << 14 needs 9 + 14."""
        shifted = BITSHIFT_FRACTION if self.bitshift else 0
        return self.weight + max(self.operand if self.multiply else 0, shifted)

    @property
    def sum_width(self) -> int:
        return self.term_width + ceil_log2(self.rows)

    @property
    def stages(self) -> int:
        """Operands, inputs of the multipliers, terms (or all registers of a pair), and the adder
        tree without its last level, which is not registered."""
        terms = 1 + Pair.latency if self.pairs else 3
        return terms + max(ceil_log2(self.rows) - 1, 0)

    def sums(
        self, m: Module, advance, values: Sequence, codes: Sequence, shift, tile: Sequence[Sequence]
    ) -> list[Value]:
        """values: `operand` bits x rows, codes: of lis4 x rows, shift: 1 takes the codes, looked at
        where `bitshift` is built; tile[r][c]: the tile for what was given one `advance` ago. All
        registers move in cycles with `advance`.
        """
        if self.pairs:
            columns = self._pairs(m, advance, values, tile)
        else:
            columns = self._terms(m, advance, values, codes, shift, tile)
        return [self._tree(m, advance, terms, str(c)) for c, terms in enumerate(columns)]

    def _terms(self, m: Module, advance, values, codes, shift, tile) -> list[list]:
        """Three registers: operands, inputs of the multipliers, terms.

        The second and the third are plain and stand right before and behind the multipliers, whose
        own registers they can be. The first one drives a row of them.
        """
        width, factors = self.term_width, packed(values, self.factor_width)
        factor = Signal(data.ArrayLayout(signed(self.factor_width), self.rows), reset_less=True)
        amount = Signal(data.ArrayLayout(AMOUNT_WIDTH, self.rows), reset_less=True)
        if self.shifts:
            # the mode that is not wanted sees operands that give 0: an OR joins both, and half of
            # the logic rests
            factors = Mux(shift, 0, factors)
            amounts = [Mux(code == ZERO_CODE, -1, BITSHIFT_FRACTION - code) for code in codes]
            with m.If(advance):
                m.d.sync += amount.eq(Mux(shift, packed(amounts, AMOUNT_WIDTH), -1))
        elif self.bitshift:
            powers = [value_in(m, code, LIS4, f"row{r}") for r, code in enumerate(codes)]
            factors = Mux(shift, packed(powers, self.factor_width), factors)
        factor_in = Signal.like(factor, name="factor_in", reset_less=True)
        amount_in = Signal.like(amount, name="amount_in", reset_less=True)
        with m.If(advance):
            m.d.sync += [factor.eq(factors), factor_in.eq(factor), amount_in.eq(amount)]
        columns = []
        for c in range(self.cols):
            # a signal a column: wider ones (above 2048 bits) are slow in Verilator
            weights = Signal(
                data.ArrayLayout(signed(self.weight), self.rows), name=f"weights{c}",
                reset_less=True,
            )  # fmt: skip
            terms = Signal(
                data.ArrayLayout(signed(width), self.rows), name=f"terms{c}", reset_less=True
            )
            values = []
            for r in range(self.rows):
                product = (factor_in[r] * weights[r])[:width].as_signed()
                if self.shifts:
                    shifted = (weights[r] << amount_in[r])[:width].as_signed()
                    product = product | shifted if self.multiply else shifted
                values.append(product)
            with m.If(advance):
                m.d.sync += [
                    weights.eq(packed((tile[r][c] for r in range(self.rows)), self.weight)),
                    terms.eq(packed(values, width)),
                ]
            columns.append([terms[r] for r in range(self.rows)])
        return columns

    def _pairs(self, m: Module, advance, values, tile) -> list[list]:
        """A register for the operands, which drives a row of pairs, then those of the pairs.

        The last one of an odd number of columns shares its multiplier with zeros.
        """
        factor = Signal(data.ArrayLayout(signed(OPERAND.width), self.rows), reset_less=True)
        with m.If(advance):
            m.d.sync += factor.eq(packed(values, OPERAND.width))
        columns: list[list] = [[] for _ in range(self.cols)]
        for r in range(self.rows):
            for c in range(0, self.cols, 2):
                m.submodules[f"pair{r}_{c}"] = pair = Pair()
                m.d.comb += [
                    pair.advance.eq(advance),
                    pair.factor.eq(factor[r]),
                    pair.low.eq(tile[r][c]),
                    pair.high.eq(tile[r][c + 1] if c + 1 < self.cols else 0),
                ]
                for column, term in zip(columns[c : c + 2], pair.products, strict=False):
                    column.append(term)
        return columns

    def _tree(self, m: Module, advance, terms: list, name: str) -> Value:
        """The sum of a column's terms, two at a time, a register between two levels.

        A node of four is half as late, but synthesis builds it of carry-save adders: 1,000 more
        LUTs in an array of 8 x 16.
        """
        for level in range(ceil_log2(len(terms)) - 1):
            sums = [balanced_sum(terms[n : n + 2]) for n in range(0, len(terms), 2)]
            width = max(len(value) for value in sums)
            partial = Signal(
                data.ArrayLayout(signed(width), len(sums)),
                name=f"partial{level}_{name}", reset_less=True,
            )  # fmt: skip
            with m.If(advance):
                m.d.sync += partial.eq(packed(sums, width))
            terms = [partial[n] for n in range(len(sums))]
        return balanced_sum(terms)
