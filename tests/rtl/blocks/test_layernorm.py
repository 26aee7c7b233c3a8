"""LayerNorm in Amaranth's simulator: every bit, exact latency and cycles per row, sizes, stalls."""

from __future__ import annotations

from functools import partial
from math import isqrt

import numpy as np
import pytest
from amaranth.sim import Simulator

from fqvit_hw.formats import LayerNormWidths
from fqvit_hw.rtl.blocks.layernorm import LayerNorm, LayerNormConfig
from fqvit_hw.rtl.parts.moments import Variance, VarianceConfig
from fqvit_hw.rtl.parts.root import InverseRoot, InverseRootConfig
from fqvit_hw.sim.blocks.layernorm import fine_case, loud_case, quiet_case, random_case, transaction
from tests.rtl.streams import drive


def check(config: LayerNormConfig, case, stall: float = 0.0) -> LayerNorm:
    """Drive one case, compare every beat; without stalls, the cycles of the handshakes, too."""
    t = transaction(config, case)
    expected = t.outputs["o"]
    dut = LayerNorm(config)
    records = drive(
        dut,
        t.inputs,
        {"o": len(expected)},
        constants=t.constants,
        tables=t.tables,
        stall=stall,
    )
    assert records["o"].beats == expected
    if stall:
        return dut
    rows, channels = case["x"].shape
    beats = -(-channels // config.lanes)
    period = dut.cycles_per_row(channels)
    start = records["i"].cycles[0]
    turn = np.arange(beats)
    ends = start + beats - 1 + period * np.arange(rows)
    # a row's last beat waits for the row's turn; the others come as early as they can
    assert np.array_equal(np.reshape(records["i"].cycles, (rows, beats))[:, -1], ends)
    out = np.reshape(records["o"].cycles, (rows, beats))  # a row leaves without a gap
    assert np.array_equal(out, (ends + dut.latency)[:, None] + turn)
    assert records["o"].cycles[-1] - start == t.cycles
    return dut


SIZES = [
    (8, 1, 10, 1), (8, 4, 64, 5), (8, 4, 64, 64), (8, 8, 100, 100), (8, 16, 192, 100),
    (8, 5, 192, 192), (8, 3, 64, 31), (8, 8, 4, 4), (16, 4, 64, 1), (16, 8, 100, 100),
    (16, 16, 384, 5), (16, 6, 64, 50),
]  # fmt: skip


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("width,lanes,max_channels,channels", SIZES)
def test_sizes(width, lanes, max_channels, channels, stall):
    """lanes that do not divide the channels, one beat a row, rows shorter than the interval."""
    config = LayerNormConfig(lanes, max_channels, width)
    check(config, random_case(width, channels, rows=5), stall)


@pytest.mark.parametrize("width,channels", [(8, 1), (8, 48), (8, 100), (16, 37), (16, 100)])
@pytest.mark.parametrize("make", [quiet_case, loud_case, fine_case])
def test_extremes(make, width, channels):
    """V = 0 and V from 1 up; the largest V and X; the last bit of T; zeros -128 and 127."""
    check(LayerNormConfig(8, 128, width), make(width, channels))


@pytest.mark.parametrize("stall", [0.0, 0.3])
@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("make", [quiet_case, loud_case, partial(random_case, rows=4)])
def test_one_block_for_both_widths(make, width, stall):
    """Sign-extended int8 codes with zero and factors, or int16."""
    check(LayerNormConfig(4, 64, 16, ptf16=True), make(width, channels=50), stall)


@pytest.mark.slow
@pytest.mark.parametrize("width,channels", [(8, 384), (8, 1024), (16, 768), (16, 2048)])
@pytest.mark.parametrize("lanes", [4, 16])
def test_long_rows(lanes, width, channels):
    for case in (random_case(width, channels, 4), loud_case(width, channels)):
        for stall in (0.0, 0.4):
            check(LayerNormConfig(lanes, 2048, width), case, stall)


@pytest.mark.parametrize(
    "lanes,channels,cycles", [(8, 1, 10), (8, 80, 10), (8, 81, 11), (8, 96, 12), (8, 97, 13)]
)
def test_cycles_per_row(lanes, channels, cycles):
    """No bubbles from rows of 10 beats on; a shorter row costs 10 cycles."""
    config = LayerNormConfig(lanes, 100)
    dut = check(config, random_case(8, channels, rows=8))
    assert dut.cycles_per_row(channels) == cycles


@pytest.mark.parametrize(
    "config,latency",
    [
        (LayerNormConfig(1, 10), 55),  # one limb for the total, no adder tree
        (LayerNormConfig(4, 64), 56),
        (LayerNormConfig(8, 1024), 59),
        (LayerNormConfig(16, 1024), 59),
        (LayerNormConfig(17, 2048, 16), 61),
    ],
)
def test_latency(config, latency):
    dut = check(config, random_case(config.width, min(config.max_channels, 40), rows=2))
    assert dut.latency == latency


def test_longest_rows_fill_the_ring():
    """The longest row for which 128 beats are enough: nothing is overwritten."""
    config = max(
        (LayerNormConfig(2, 2 * beats) for beats in range(2, 128)),
        key=lambda c: (c.ring_depth == 128, c.beats),
    )
    assert config.beats + config.wait == config.ring_depth == 128
    check(config, random_case(8, config.max_channels, rows=5))
    check(config, random_case(8, config.max_channels, rows=5), stall=0.3)


def step(dut, start: dict, out: tuple[str, ...], values: list[dict], interval: int):
    """Start a scalar stage every `interval` cycles; returns the outputs and the cycles of done."""
    results, cycles = [], []

    async def source(ctx):
        for value in values:
            for name, number in (start | value).items():
                ctx.set(getattr(dut, name), number)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for _ in range(interval - 1):
                await ctx.tick()
        for _ in range(dut.parameters.latency):
            await ctx.tick()

    async def watch(ctx):
        cycle = 0
        async for _, _, done, *got in ctx.tick().sample(dut.done, *(getattr(dut, n) for n in out)):
            if done:
                results.append(tuple(got))
                cycles.append(cycle)
            cycle += 1

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(source)
    sim.add_testbench(watch, background=True)
    sim.run()
    expected = [dut.parameters.latency + interval * n for n in range(len(values))]
    assert cycles == expected
    return results


@pytest.mark.parametrize("width", [24, 42, 54])
def test_inverse_root(width):
    """Powers of two and their neighbours, and random V of all lengths, against integer division."""
    rng = np.random.default_rng(width)
    V = [1, 2, 3, *(int(rng.integers(1, 1 << n)) for n in range(1, width) for _ in range(3))]
    V += [v for n in range(2, width + 1) for v in ((1 << n) - 1, 1 << (n - 1), (1 << (n - 1)) + 1)]
    config = InverseRootConfig(width, 10)
    values = [{"V": v, "tag": n} for n, v in enumerate(V)]
    out = ("R", "shift", "tag_out")
    got = step(InverseRoot(config), {}, out, values, config.interval)
    for n, (v, (R, shift, tag)) in enumerate(zip(V, got, strict=True)):
        assert (shift, tag) == ((v.bit_length() + 1) // 2 - 1, n)
        normalized = v * 4**17 >> (2 * shift)
        assert (1 << 33) // isqrt(normalized) == R


@pytest.mark.parametrize("channels,width", [(3, 8), (1024, 8), (2048, 16)])
def test_variance(channels, width):
    """Random and extreme sums; the stage is full."""
    rng = np.random.default_rng(channels)
    w = LayerNormWidths(channels, width)
    rows = rng.integers(w.X.min, w.X.max + 1, (20, channels))
    rows[0], rows[1] = (-2040, 2040) if width == 8 else (w.X.min, w.X.max)
    values = [{"total": int(r.sum()), "sumsq": int((r * r).sum())} for r in rows]
    config, eps = VarianceConfig(w), 12345
    constants = {"channels_in": channels, "eps": eps}
    out = ("V", "total_out")
    got = step(Variance(config), constants, out, values, config.interval)
    expected = [channels * v["sumsq"] - v["total"] ** 2 + eps for v in values]
    assert got == [(V, v["total"]) for V, v in zip(expected, values, strict=True)]


@pytest.mark.parametrize(
    "fields,error",
    [({"lanes": 0}, ValueError), ({"lanes": 2.0}, TypeError), ({"lanes": True}, TypeError),
     ({"max_channels": 0}, ValueError), ({"max_channels": 2049}, ValueError),
     ({"width": 12}, ValueError), ({"ptf16": True}, ValueError)],
)  # fmt: skip
def test_refused_configurations(fields, error):
    with pytest.raises(error, match=f"LayerNormConfig.{next(iter(fields))}"):
        LayerNormConfig(**{"lanes": 4, "max_channels": 64} | fields)
