"""The arithmetic of the epilogue: E accumulators in, what becomes of them 19 cycles later.

1        accumulators, their parameters, the row's reciprocal
2..6     plus bias, or times the reciprocal and rounded                units.attention
7..12    requantized to 32 bits                                        units.requantize
13       saturated to 8 or 16 bits; the lanes of the stream are there
14..19   GELU                                                          units.gelu
14..20   residual add                                                  units.residual
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import (
    ACC,
    INT8,
    INT16,
    MULTIPLIER,
    RECIPROCAL,
    ROW_SHIFT,
    SHIFT,
)
from fqvit_hw.machine.isa import Epilogue, Opcode
from fqvit_hw.machine.layouts import COLUMN

from ..blocks.gelu import Gelu, GeluConfig
from ..blocks.requantize import Requantize, RequantizeConfig
from ..blocks.residual import Residual, ResidualConfig
from ..parts.packed import packed
from ..parts.pipeline import saturate
from ..parts.product import Product
from ..parts.shifter import SHIFT_LATENCY, shift_right
from .layouts import struct
from .ports import instruction

NORMALIZED = 1 + Product.latency + SHIFT_LATENCY + 1  # the stage of what goes into the requantize
READ = NORMALIZED + Requantize.latency + 1  # the stage of `x`
LATENCY = READ + Residual.latency  # the stage of `result`
PARAMS = struct(COLUMN)  # of a column


def delay(m: Module, value, cycles: int, name: str):
    """`value`, `cycles` later."""
    for n in range(cycles):
        register = Signal.like(value, name=f"{name}_{n}", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value


# What the arithmetic needs of a GEMM
CONSTANTS = ("epilogue", "codes", "scalar", "multiplier", "shift", "zero", "row_norm", "wide")
CONSTANTS += ("x_zero", "x_multiplier", "y_multiplier", "add_shift", "add_zero", "stream16")


def decoded(m: Module, epilogue: Value) -> dict[Epilogue, Signal]:
    """Which one is it? Known a cycle late; the first chunk enters later than that."""
    is_op = {op: Signal(name=f"is_{op.name.lower()}") for op in Epilogue}
    m.d.sync += [signal.eq(epilogue == op) for op, signal in is_op.items()]
    return is_op


class EpilogueMath(wiring.Component):
    """All epilogues side by side; `ins` says which comes out and holds still meanwhile.

    Parameters
    ----------
    lanes : int
        E, columns a cycle
    sum_bits : int
        of a sum of values times v that is scaled
    wide_multipliers : bool
        multipliers have 27 x 18 bits

    Members
    -------
    active : In, 1
        chunks may be inside
    ins : In, GEMM
        the instruction
    acc : In, int32 x E
        accumulators, in stage 1
    params : In, PARAMS x E
        their columns' parameters, in stage 1
    reciprocal, shift : In, uint17, uint5
        of the row, in stage 1
    x : In, int16 x E
        the lanes of the stream, in stage READ = 13
    result : Out, int32 x E
        in stage LATENCY = 20
    table : In, stream of {addr, data}
        of the GELU (`rtl.blocks.gelu`)

    Latency
    -------
    LATENCY - 1 cycles from `acc` to `result`.

    Throughput
    ----------
    A chunk every cycle.

    Back-pressure
    -------------
    None: nothing stalls, and there are no valid bits. What comes of nothing is ignored.
    """

    def __init__(self, lanes: int, sum_bits: int, wide_multipliers: bool = False):
        self.lanes, self.sum_bits, self.wide_multipliers = lanes, sum_bits, wide_multipliers
        super().__init__(
            {
                "active": In(1),
                "ins": In(instruction(Opcode.GEMM, *CONSTANTS)),
                "acc": In(data.ArrayLayout(signed(ACC.width), lanes)),
                "params": In(data.ArrayLayout(PARAMS, lanes)),
                "reciprocal": In(RECIPROCAL.width),
                "shift": In(ROW_SHIFT.width),
                "x": In(data.ArrayLayout(signed(INT16.width), lanes)),
                "result": Out(data.ArrayLayout(signed(32), lanes)),
                "table": In(stream.Signature(GeluConfig(lanes).table)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, ins = range(self.lanes), self.ins
        is_op = decoded(m, ins.epilogue)
        # in stage 2: a block RAM answers late, its own output register at once
        params = delay(m, self.params, 1, "params")
        value = self.requantize(m, self.normalize(m, params), params)

        # stage READ: a second, narrower clamp makes the first one, to 32 bits, as if it were one
        half = is_op[Epilogue.GELU] | (is_op[Epilogue.RESIDUAL] & ins.wide)
        whole = is_op[Epilogue.LOGITS]
        narrow = Signal.like(self.result, reset_less=True)
        clamped = [
            Mux(whole, value[n], Mux(half, saturate(value[n], INT16), saturate(value[n], INT8)))
            for n in lanes
        ]
        m.d.sync += narrow.eq(packed(clamped, 32))
        codes = [narrow[n][: INT16.width].as_signed() for n in lanes]

        # What is not needed stands still, which saves power.
        gelu, add = (
            Gelu(GeluConfig(self.lanes)),
            Residual(ResidualConfig(self.lanes, 16, 16, 16, flexible=True)),
        )
        gelu_runs, add_runs, written = Signal(), Signal(), Signal()
        m.d.sync += [
            written.eq(self.table.valid),  # a write takes another two cycles
            gelu_runs.eq((self.active & is_op[Epilogue.GELU]) | self.table.valid | written),
            add_runs.eq(self.active & is_op[Epilogue.RESIDUAL]),
        ]
        m.submodules.gelu = EnableInserter(gelu_runs | self.table.valid)(gelu)
        m.submodules.residual = EnableInserter(add_runs)(add)
        wiring.connect(m, wiring.flipped(self.table), gelu.table)
        m.d.comb += [
            gelu.config.multiplier.eq(ins.x_multiplier[: MULTIPLIER.width]),
            gelu.config.shift.eq(ins.add_shift),
            gelu.config.zero.eq(ins.add_zero),
            gelu.i.valid.eq(1),
            gelu.i.payload.eq(packed(codes, INT16.width)),
            gelu.o.ready.eq(1),
        ]
        factors = Cat(Cat(p.x_factor, p.factor) for p in params)
        factors = delay(m, Mux(ins.scalar, 0, factors), READ - 2, "factors")
        m.d.comb += [
            add.config.x_zero.eq(ins.x_zero),
            add.config.branch_zero.eq(ins.zero),
            add.config.x_multiplier.eq(ins.x_multiplier),
            add.config.branch_multiplier.eq(ins.y_multiplier),
            add.config.shift.eq(ins.add_shift),
            add.config.zero.eq(ins.add_zero),
            add.config.wide.eq(ins.stream16),
            add.i.valid.eq(1),
            add.i.payload.eq(
                Cat(Cat(self.x[n], codes[n], factors.word_select(n, 4)) for n in lanes)
            ),
            add.o.ready.eq(1),
        ]

        # the GELU, and a stage later the residual add
        kept = delay(m, narrow.as_value(), Gelu.latency, "kept")
        after_gelu = Signal.like(kept, reset_less=True)
        m.d.sync += after_gelu.eq(Mux(is_op[Epilogue.GELU], packed(gelu.o.payload.data, 32), kept))
        m.d.comb += self.result.eq(
            Mux(is_op[Epilogue.RESIDUAL], packed(add.o.payload.data, 32), after_gelu)
        )
        return m

    def normalize(self, m: Module, params):
        """Stages 2 to NORMALIZED: the accumulators as the requantize takes them."""
        scaled = self.ins.row_norm & self.ins.codes  # SCORES have a row_norm of their own
        rounded = Signal.like(self.acc, reset_less=True)
        less = Signal(ROW_SHIFT.width, reset_less=True)
        m.d.sync += less.eq(self.shift - 1)
        less = delay(m, less, Product.latency - 1, "shift")
        values = []
        accs = delay(m, self.acc, 1, "acc")
        for n, (acc, p) in enumerate(zip(self.acc, params, strict=True)):
            biased = Signal(signed(ACC.width), name=f"biased{n}", reset_less=True)
            m.d.sync += biased.eq(accs[n] + Mux(self.ins.scalar, 0, p.bias))
            biased = delay(m, biased, NORMALIZED - 4, f"biased{n}")
            product = Product(
                m, Const(1), acc[: self.sum_bits].as_signed(), self.reciprocal, f"scaled{n}",
                self.wide_multipliers,
            ).result  # fmt: skip
            # rshift_round(x, n) = ((x >> (n - 1)) + 1) >> 1
            doubled = shift_right(m, Const(1), product, less, f"doubled{n}")
            values.append(Mux(scaled, (doubled + 1) >> 1, biased)[: ACC.width])
        m.d.sync += rounded.eq(packed(values, ACC.width))
        return rounded

    def requantize(self, m: Module, acc, params):
        """From stage NORMALIZED on: as many as the block has."""
        ins = self.ins
        m.submodules.requantize = block = Requantize(
            RequantizeConfig(self.lanes, 32, self.wide_multipliers)
        )
        scales = Cat(Cat(p.multiplier, p.shift[: SHIFT.width]) for p in params)
        scalar = Cat(Cat(ins.multiplier, ins.shift) for _ in range(self.lanes))
        scales = delay(m, Mux(ins.scalar, scalar, scales), NORMALIZED - 2, "scales")
        size = len(scales) // self.lanes
        m.d.comb += [
            block.i.valid.eq(1),
            block.i.payload.lanes.eq(
                Cat(Cat(acc[n], scales.word_select(n, size)) for n in range(self.lanes))
            ),
            block.i.payload.zero.eq(ins.zero),
            block.o.ready.eq(1),
        ]
        return block.o.payload.data
