"""The norm unit, cycle by cycle, against the numpy LayerNorm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from fqvit_hw.cycles.timing import NORM_WAIT
from fqvit_hw.machine.hardware import BASE, ECP5_85K, TINY
from fqvit_hw.machine.isa import INSTRUCTIONS, Opcode, Unit
from fqvit_hw.rtl.accelerator.norm import FEED, START, Norm
from fqvit_hw.rtl.accelerator.scratchpad import READ
from fqvit_hw.sim.blocks.layernorm import parameters
from fqvit_hw.sim.blocks.stream import pack, row_beats
from fqvit_hw.units import LayerNorm, layernorm
from tests.rtl.instructions import fields_of

SIZES = {
    "tiny": TINY, "ecp5": ECP5_85K, "base": BASE,
    "wide": replace(ECP5_85K, wide_multipliers=True),
}  # fmt: skip


class Case:
    """x (rows, channels) codes, p their LayerNorm, y what it gives."""

    def __init__(self, x: np.ndarray, p: LayerNorm):
        self.x, self.p, self.y = x, p, layernorm(x, p)


def instruction(rng, case, to: int, frm: int, words: tuple[int, int], **more) -> dict:
    """A NORM of the case's rows, in groups, with gaps; words: of a row, from and to."""
    rows, channels = case.x.shape
    group = int(rng.integers(1, rows + 1))
    walk = {"rows": rows, "row_group": group, "channels": channels}
    for name, base, size in (("from", frm, words[0]), ("to", to, words[1])):
        stride = size + int(rng.integers(3))
        walk |= {f"{name}_base": base, f"{name}_stride": stride, f"{name}_jump": stride * group + 2}
    names = ("eps", "zero", "gamma_shift", "zero_out")
    constants = {name: getattr(case.p, name) for name in names}
    zeros = {f.name: 0 for f in INSTRUCTIONS[Opcode.NORM]}
    return zeros | {"opcode": Opcode.NORM} | walk | constants | more


def addresses(ins: dict, name: str, lanes: int):
    """Word and lane of every channel of every row."""
    r, c = np.arange(ins["rows"])[:, None], np.arange(ins["channels"])
    group = ins["row_group"]
    row = ins[f"{name}_base"] + r // group * ins[f"{name}_jump"]
    return row + r % group * ins[f"{name}_stride"] + c // lanes, np.broadcast_to(
        c % lanes, (ins["rows"], ins["channels"])
    )


def run(hw, cases, waits=None, stall: float = 0.0, seed: int = 0, limit: int = 8000):
    """Norms of `cases` (all with the first one's parameters), one instruction after another.

    waits: instruction number -> fields; the count of LOAD is cycle // 100. Checks all of the
    activations; returns the cycles in which rows were finished and words were read, and the unit.
    """
    rng = np.random.default_rng(seed)
    stream = rng.integers(-(1 << 15), 1 << 15, (hw.stream, hw.cols))
    acts = rng.integers(-128, 128, (hw.acts, hw.rows))
    expected, made = acts.copy(), []
    program, frm, to = [], 3, 6
    for n, case in enumerate(cases):
        rows, channels = case.x.shape
        words = (-(-channels // hw.cols), -(-channels // hw.rows))
        ins = instruction(rng, case, to, frm, words, **(waits or {}).get(n, {}))
        frm, to = frm + rows * (words[0] + 5), to + rows * (words[1] + 5)
        stream[addresses(ins, "from", hw.cols)] = case.x
        expected[addresses(ins, "to", hw.rows)] = case.y
        made += [int(v) for v in case.y.ravel()]
        program.append(ins)
    p = cases[0].p
    dut = Norm(hw)
    finished, reads, trace = [], [], []
    goal = sum(len(case.x) for case in cases)

    async def bench(ctx):
        get, put = ctx.get, ctx.set
        names = ("factor", "gamma", "beta")
        beats = {n: row_beats(getattr(p, n)[None].astype(int), hw.norm_lanes)[0] for n in names}
        for b in range(len(beats["gamma"])):
            lanes = [{n: int(beats[n][b][k]) for n in names} for k in range(hw.norm_lanes)]
            put(dut.params.payload, {"addr": b, "data": lanes})
            put(dut.params.valid, 1)
            await ctx.tick()
        put(dut.params.valid, 0)
        at, words = 0, [0] * READ  # read in the last cycles
        for cycle in range(limit):
            if len(finished) == goal:
                assert at == len(program)
                return
            offer = at < len(program) and (get(dut.i.valid) or rng.random() >= stall)
            put(dut.i.valid, int(offer))
            if offer:
                put(
                    dut.i.payload.as_value(),
                    pack(dut.i.payload.shape(), fields_of(dut.i.payload.shape(), program[at])),
                )
            put(dut.stream.ready, int(rng.random() >= stall))
            put(dut.acts.ready, int(rng.random() >= stall))
            put(dut.progress.load, cycle // 100)
            took = offer and get(dut.i.ready)
            words.append(99 * cycle)
            if get(dut.stream.valid) and get(dut.stream.ready):
                reads.append(cycle)
                words[-1] = sum(
                    (int(v) & 0xFFFF) << (16 * k)
                    for k, v in enumerate(stream[get(dut.stream.addr)])
                )
            if get(dut.acts.valid) and get(dut.acts.ready):
                addr, mask, bits = get(dut.acts.addr), get(dut.acts.mask), get(dut.acts.data)
                for k in range(hw.rows):
                    if mask >> k & 1:
                        acts[addr, k] = ((bits >> (8 * k) & 255) ^ 128) - 128
            if get(dut.trace.valid):
                mask, values = get(dut.trace.mask), get(dut.trace.data)
                trace.extend(values[k] for k in range(hw.norm_lanes) if mask >> k & 1)
            if get(dut.finished):
                finished.append(cycle)
                assert len(trace) == len(finished) * len(p.gamma)  # all of the row is written
            await ctx.tick()
            at += took
            if took:
                put(dut.i.valid, 0)
            put(dut.stream.data, words[-READ] & ((1 << (16 * hw.cols)) - 1))
        raise AssertionError(f"{len(finished)} of {goal} rows")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert trace == made
    assert np.array_equal(acts, expected)
    return finished, reads, dut


def cases_of(width: int, channels: int, *rows: int) -> list[Case]:
    """Cases with the same gamma, beta and factors; all else differs."""
    rng = np.random.default_rng([width, channels])
    first, cases = parameters(width, channels, zero=0, eps=channels), []
    for n in rows:
        x = rng.integers(-(1 << (width - 1)), 1 << (width - 1), (n, channels))
        p = replace(
            first,
            zero=int(rng.integers(-128, 128)) if width == 8 else 0,
            eps=int(rng.integers(1 << 20)),
            gamma_shift=int(rng.integers(8, 16)),
            zero_out=int(rng.integers(-128, 128)),
        )
        cases.append(Case(x >> rng.integers(0, width, (n, 1)), p))
    return cases


@pytest.mark.parametrize("stall", [0.0, 0.4], ids=["steady", "stalls"])
@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize(
    "size,channels", [("tiny", 23), ("ecp5", 37), ("ecp5", 48), ("base", 100), ("wide", 37)]
)
def test_rows(size, channels, width, stall):
    run(SIZES[size], cases_of(width, channels, 5, 1, 3), stall=stall)


@pytest.mark.parametrize(
    "size,channels", [("tiny", 3), ("tiny", 64), ("ecp5", 5), ("ecp5", 50), ("base", 192)]
)
def test_cycles(size, channels):
    """Exact without stalls: the first row, a row after another, and the next instruction."""
    hw = SIZES[size]
    finished, _, dut = run(hw, cases_of(8, channels, 4, 2))
    c = dut.layernorm
    beats = -(-channels // hw.norm_lanes)
    first, period = START + FEED + beats + c.latency + beats - 1, c.cycles_per_row(channels)
    expected = [first + period * n for n in range(4)]
    expected += [expected[-1] + 1 + first + period * n for n in range(2)]
    assert finished == expected


def test_waits():
    """Row r of the first instruction waits for 2 + r, the second for 9 before its first row."""
    waits = {
        0: {"wait0_unit": Unit.LOAD, "wait0_count": 2, "wait0_step": 1},
        1: {"wait0_unit": Unit.LOAD, "wait0_count": 1, "wait1_unit": Unit.LOAD, "wait1_count": 9},
    }
    hw = replace(BASE, norm_lanes=16)  # a word a beat
    _, reads, _ = run(hw, cases_of(16, 192, 4, 3), waits)  # rows of 12 words
    assert reads[:48] == [100 * (2 + r) + NORM_WAIT + k for r in range(4) for k in range(12)]
    assert reads[48:] == list(range(900 + NORM_WAIT, 936 + NORM_WAIT))
