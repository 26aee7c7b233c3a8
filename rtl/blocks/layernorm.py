"""PTF LayerNorm in integers: exact statistics, one reciprocal square root a row, lanes every cycle.

Arithmetic: `fqvit_hw.units.layernorm`, docs/datapath.md.

    load      i -> X = (code - zero) << factor -> ring buffer, and sum X, sum X^2 over the row
    scalar    V = C sum X^2 - (sum X)^2 + eps;  1 / sqrt(V) = R * 2^-(16 + shift)
    drain     ring buffer -> D = C X - sum X -> T = D R >> shift -> y = gamma T + beta -> o

`rtl.parts.moments` has the sums and V, `rtl.parts.root` 1 / sqrt(V), `rtl.parts.normalize` the
second pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from amaranth.hdl import EnableInserter, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import (
    BETA,
    GAMMA,
    INT8,
    MAX_CHANNELS,
    MAX_GAMMA_SHIFT,
    PTF_BITS,
    LayerNormWidths,
    ceil_log2,
)

from ..parts.block_ram import block_ram
from ..parts.checks import check_fields
from ..parts.elastic import Elastic
from ..parts.moments import Moments, Variance, VarianceConfig, moments_latency
from ..parts.normalize import Normalize, NormalizeConfig
from ..parts.position import inside, position
from ..parts.root import InverseRoot, InverseRootConfig

LOAD = 3  # registers before the sums: the codes, twice, beside their factors, and X


@dataclass(frozen=True)
class LayerNormConfig:
    """lanes: elements a beat; max_channels: longest row; width: of the input codes, 8 or 16.

    8-bit codes have a zero point and PTF factors; 16-bit codes have neither, unless `ptf16`: then
    one block serves both, the 8-bit codes sign-extended; X = (code - zero) << factor has 16 bits.
    wide_multipliers: of 27 x 18 bits (`rtl.parts.product`).
    """

    lanes: int
    max_channels: int
    width: int = 8
    ptf16: bool = False
    wide_multipliers: bool = False

    def __post_init__(self):
        check_fields(self)
        for name in ("lanes", "max_channels"):
            if getattr(self, name) > MAX_CHANNELS:
                value = getattr(self, name)
                raise ValueError(f"LayerNormConfig.{name}: expected 1..{MAX_CHANNELS}, got {value}")
        if self.width not in (8, 16):
            raise ValueError(f"LayerNormConfig.width: expected 8 or 16, got {self.width}")
        if self.ptf16 and self.width != 16:
            raise ValueError(f"LayerNormConfig.ptf16: expected width 16, got {self.width}")

    @property
    def factors(self) -> bool:
        """Do the codes have a zero point and PTF factors?"""
        return self.width == 8 or self.ptf16

    @property
    def widths(self) -> LayerNormWidths:
        return LayerNormWidths(self.max_channels, self.width)

    @property
    def beats(self) -> int:
        """Beats of the longest row; at least 2, which spares memories without an address."""
        return max(-(-self.max_channels // self.lanes), 2)

    @property
    def variance(self) -> VarianceConfig:
        return VarianceConfig(self.widths)

    @property
    def inverse_root(self) -> InverseRootConfig:
        return InverseRootConfig(self.widths.V.width, signed(self.widths.total.width))

    @property
    def wait(self) -> int:
        """Cycles from the handshake of a row's last beat to the turn of its first one to drain."""
        scalar = self.variance.latency + self.inverse_root.latency
        return LOAD + moments_latency(self.lanes) + scalar + 1

    @property
    def latency(self) -> int:
        return self.wait + Normalize.latency + 1

    @property
    def interval(self) -> int:
        """Least cycles between the ends of two rows: those of the slowest scalar stage."""
        return max(self.variance.interval, self.inverse_root.interval)

    def cycles_per_row(self, channels: int) -> int:
        return max(-(-channels // self.lanes), self.interval)

    @property
    def ring_depth(self) -> int:
        """A beat waits for the rest of its row, then `wait` cycles, with one beat written a cycle.

        A power of two, so that the pointers wrap by themselves.
        """
        return 1 << ceil_log2(self.beats + self.wait)

    @property
    def normalize(self) -> NormalizeConfig:
        return NormalizeConfig(
            self.lanes, self.beats, self.ring_depth, self.widths, self.inverse_root.pairs,
            self.wide_multipliers,
        )  # fmt: skip

    def array(self, width: int, sign: bool = True) -> data.ArrayLayout:
        return data.ArrayLayout(signed(width) if sign else unsigned(width), self.lanes)

    @property
    def layer(self) -> data.StructLayout:
        return data.StructLayout(
            {
                "channels": range(self.max_channels + 1),
                "eps": unsigned(self.widths.V.width),
                "zero": signed(INT8.width),
                "gamma_shift": range(MAX_GAMMA_SHIFT + 1),
                "zero_out": signed(INT8.width),
            }
        )

    @property
    def params(self) -> data.StructLayout:
        """One beat of channels; a block without factors ignores `factor`."""
        lane = data.StructLayout(
            {"factor": PTF_BITS, "gamma": signed(GAMMA.width), "beta": signed(BETA.width)}
        )
        return data.StructLayout(
            {"addr": range(self.beats), "data": data.ArrayLayout(lane, self.lanes)}
        )

    @property
    def i(self) -> data.StructLayout:
        return data.StructLayout({"data": self.array(self.width)})

    @property
    def o(self) -> data.StructLayout:
        return data.StructLayout(
            {"data": data.ArrayLayout(signed(INT8.width), self.lanes), "last": 1}
        )


class LayerNorm(wiring.Component):
    """Two passes over a row: statistics while it is loaded, normalization while it is drained.

    Multipliers a lane: X^2, C X, D R and T gamma; one more for V. Row n + 1 loads while row n
    drains and the rows between are in the scalar stages.

    Parameters
    ----------
    parameters : LayerNormConfig
        lanes, longest row, width of the codes

    Members
    -------
    config : In, LayerNormConfig.layer
        channels (1..max_channels), eps, zero, gamma_shift, zero_out
    params : In, stream of {addr, data}
        writes of factor, gamma and beta, a beat of channels each, always taken
    i : In, stream of {data}
        codes of `width` bits x lanes
    o : Out, stream of {data, last}
        int8 x lanes

    Latency
    -------
    `latency` cycles from the handshake of a row's last input beat to its first output beat.

    Throughput
    ----------
    cycles_per_row(channels): the number of beats, but at least `interval` = 10, the cycles of the
    slowest scalar stage: the last beat of a shorter row is held back until then.

    Back-pressure
    -------------
    Stalls as a whole while two beats wait at `o`; without them, loading never waits for draining.
    """

    def __init__(self, parameters: LayerNormConfig):
        self.parameters = parameters
        self.latency = parameters.latency
        super().__init__(
            {
                "config": In(parameters.layer),
                "params": In(stream.Signature(parameters.params)),
                "i": In(stream.Signature(parameters.i)),
                "o": Out(stream.Signature(parameters.o)),
            }
        )

    def cycles_per_row(self, channels: int) -> int:
        return self.parameters.cycles_per_row(channels)

    def elaborate(self, platform):
        m = Module()
        c = self.parameters
        advance = Signal()
        # so that a register stops the clock of everything, all over the chip
        m.submodules.made = made = Elastic(c.o)
        wiring.connect(m, made.o, wiring.flipped(self.o))
        m.d.comb += [advance.eq(made.i.ready), self.params.ready.eq(1)]
        table = {"gamma": c.array(GAMMA.width), "beta": c.array(BETA.width)}
        if c.factors:
            table["factor"] = c.array(PTF_BITS, sign=False)
        table = {name: self.table(m, name, shape, advance) for name, shape in table.items()}

        # Everything but the writing of tables stands still without `advance`.
        m.submodules.rows = EnableInserter(advance)(rows := Module())
        rows.submodules.moments = moments = Moments(c.widths, c.lanes)
        rows.submodules.variance = variance = Variance(c.variance)
        rows.submodules.inverse_root = root = InverseRoot(c.inverse_root)
        rows.submodules.normalize = normalize = Normalize(c.normalize)
        # a beat is read before ring_depth others have followed it, see `ring_depth`
        rows.submodules.ring = ring = block_ram(moments.x.shape(), c.ring_depth)
        write, read = ring.write_port(), ring.read_port()
        ready, tail = self.load(rows, table.get("factor"), moments)
        with rows.If(moments.valid):
            rows.d.sync += write.addr.eq(write.addr + 1)
        m.d.comb += [
            self.i.ready.eq(advance & ready),
            write.en.eq(moments.valid),
            write.data.eq(moments.x),
            variance.start.eq(moments.done),
            variance.total.eq(moments.total),
            variance.sumsq.eq(moments.sumsq),
            variance.channels_in.eq(self.config.channels),
            variance.eps.eq(self.config.eps),
            root.start.eq(variance.done),
            root.V.eq(variance.V),
            root.tag.eq(variance.total_out),
            *(
                getattr(normalize.config, name).eq(getattr(self.config, name))
                for name in c.normalize.layer.members
            ),
            normalize.tail.eq(tail),
            normalize.start.eq(root.done),
            normalize.R.eq(root.R),
            normalize.shift.eq(root.shift),
            normalize.total.eq(root.tag_out),
            read.addr.eq(normalize.ring_addr),
            normalize.ring_data.eq(read.data),
            table["gamma"].addr.eq(normalize.gamma_addr),
            normalize.gamma_data.eq(table["gamma"].data),
            table["beta"].addr.eq(normalize.beta_addr),
            normalize.beta_data.eq(table["beta"].data),
            made.i.valid.eq(normalize.valid),
            made.i.payload.last.eq(normalize.last),
            made.i.payload.data.eq(normalize.y),
        ]
        return m

    def table(self, m: Module, name: str, shape, advance) -> memory.ReadPort:
        """A parameter's own memory, so that each is read at the stage that needs it."""
        # written while no beat is inside: what is read then is not used
        m.submodules[name] = table = block_ram(shape, self.parameters.beats)
        write, read = table.write_port(), table.read_port()
        beat = self.params.payload
        m.d.comb += [
            write.en.eq(self.params.valid),
            write.addr.eq(beat.addr),
            read.en.eq(advance),
        ]
        m.d.comb += [write.data[k].eq(beat.data[k][name]) for k in range(self.parameters.lanes)]
        return read

    def load(self, m: Module, factor: memory.ReadPort | None, moments: Moments):
        """First pass. Returns: may a beat be taken, and the live lanes of the rows' last beats."""
        c = self.parameters
        lanes = range(c.lanes)
        gap = Signal(range(c.interval))  # cycles until the next row may end
        taken, ready = Signal(), Signal()
        beat = position(m, "load", self.config.channels, c.lanes, taken)
        m.d.comb += [ready.eq(~beat.last | (gap == 0)), taken.eq(self.i.valid & ready)]
        with m.If(taken & beat.last):
            m.d.sync += gap.eq(c.interval - 1)
        with m.Elif(gap != 0):
            m.d.sync += gap.eq(gap - 1)

        mark = data.StructLayout({"valid": 1, "first": 1, "last": 1, "live": c.lanes})
        marks = [Signal(mark, name=f"mark{n}") for n in range(LOAD)]
        codes = [
            Signal(c.array(c.width), name=name, reset_less=True) for name in ("early", "codes")
        ]
        tail = Signal(c.lanes)
        m.d.sync += [
            marks[0].valid.eq(taken),
            marks[0].first.eq(beat.first),
            marks[0].last.eq(beat.last),
            marks[0].live.eq(inside(beat.left, c.lanes)),
            codes[0].eq(self.i.payload.data),
            codes[1].eq(codes[0]),
        ]
        m.d.sync += [after.eq(before) for before, after in pairwise(marks)]
        with m.If(marks[0].valid & marks[0].last):
            m.d.sync += tail.eq(marks[0].live)

        X = [codes[1][k] for k in lanes]
        if factor is not None:
            index = Signal(range(c.beats), name="load_index")
            m.d.comb += factor.addr.eq(index)
            with m.If(taken):
                m.d.sync += index.eq(Mux(beat.last, 0, index + 1))
            factors = Signal.like(factor.data, reset_less=True)
            m.d.sync += factors.eq(factor.data)
            X = [(X[k] - self.config.zero) << factors[k] for k in lanes]
        x = Signal.like(moments.x, reset_less=True)
        m.d.sync += [x[k].eq(Mux(marks[1].live[k], X[k], 0)) for k in lanes]
        m.d.comb += [
            moments.x.eq(x),
            moments.valid.eq(marks[-1].valid),
            moments.first.eq(marks[-1].first),
            moments.last.eq(marks[-1].last),
        ]
        return ready, tail
