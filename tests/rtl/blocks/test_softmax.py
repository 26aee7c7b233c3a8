"""rtl softmax in Amaranth's simulator: codes and reciprocals, exact latency and cycles, stalls."""

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from fqvit_hw.attention_codes import MODES
from fqvit_hw.formats import UNIT_ROW
from fqvit_hw.rtl.blocks.softmax import ROWS_DEPTH, Softmax, SoftmaxConfig
from fqvit_hw.rtl.parts.softmax_code import Log2Code, Uniform8Code
from fqvit_hw.sim.blocks.stream import row_beats
from fqvit_hw.units import Softmax as Parameters
from fqvit_hw.units import row_reciprocal, softmax
from fqvit_hw.units.softmax import log2_code
from fqvit_hw.vectors.softmax_corners import nearest
from tests.rtl.streams import drive

EVERY_MODE = ("max4", "lis4", "uniform8")
D = np.arange(256)
TOP = (1 << 24) - 1
TABLES = {
    "exact": np.round(2.0**23 * np.exp(-0.11 * D)).astype(np.int64),
    "steep": np.where(D < 9, TOP >> np.minimum(2 * D, 24), 0),  # all of the codes 0..15
    "flat": np.full(256, TOP),  # the largest sums
    "small": np.where(D < 40, 2 - D % 2, 0),  # 2S / e is full of ties: 3, 5, ...
    "single": (D == 0) * TOP,
}


def parameters(name: str, mode: str, row_norm: bool = True) -> Parameters:
    """A table of TABLES for any mode; rows are normalized where they can be."""
    codes, table = MODES[mode], TABLES[name]
    if codes.of_maximum:
        return Parameters(nearest(table, codes), mode)
    return Parameters(table, mode, row_norm and codes.row_sum is not None)


def reference(x, mask, p: Parameters):
    """Codes, reciprocals and error; rows masked everywhere as the block's contract has them."""
    empty = mask.all(-1)
    y = np.full(x.shape, p.codes.zero_code)
    y[~empty] = softmax(x[~empty], p, mask[~empty])
    rows = np.full((len(x), 2), UNIT_ROW)
    if p.row_norm:
        rows[~empty] = np.concatenate(row_reciprocal(y[~empty], p.codes), axis=1)
    return y, [{"reciprocal": r, "shift": s} for r, s in rows.tolist()], bool(empty.any())


def random_rows(rows, tokens, seed=0):
    rng = np.random.default_rng([seed, rows, tokens])
    spread = rng.choice([2, 20, 128], (rows, 1))
    x = rng.integers(-spread, spread, (rows, tokens)).astype(np.int8)
    mask = rng.random((rows, tokens)) < rng.choice([0, 0.3, 0.9], (rows, 1))
    mask[np.arange(rows), rng.integers(0, tokens, rows)] = False
    return x, mask


def layer(p, tokens) -> dict:
    return {"tokens": tokens, "mode": list(MODES).index(p.mode), "row_norm": int(p.row_norm)}


def table(p) -> list[dict]:
    return [{"addr": d, "data": int(e)} for d, e in enumerate(p.table)]


def input_beats(x, mask, lanes) -> list[dict]:
    data = row_beats(x, lanes, fill=127).reshape(-1, lanes)  # what the tail carries is ignored
    left_out = row_beats(mask, lanes).reshape(-1, lanes)
    return [
        {"data": d, "mask": m}
        for d, m in zip(data.tolist(), left_out.astype(int).tolist(), strict=True)
    ]


def check(config, x, mask, p, stall=0.0):
    """Run rows through a new block and compare all that comes out; returns the streams' cycles."""
    rows, tokens = x.shape
    inputs = input_beats(x, mask, config.lanes)
    records = drive(
        Softmax(config),
        {"i": inputs},
        {"o": len(inputs), "rows": rows},
        constants={"config": layer(p, tokens)},
        tables={"table": table(p)},
        stall=stall,
        limit=4000 + 20 * len(inputs),
    )
    y, reciprocal, _ = reference(x, mask, p)
    beats = config.beats(tokens)
    expected = row_beats(y, config.lanes).reshape(-1, config.lanes).tolist()
    assert [o["data"] for o in records["o"].beats] == expected
    assert [o["last"] for o in records["o"].beats] == ([0] * (beats - 1) + [1]) * rows
    assert records["rows"].beats == reciprocal
    return (np.array(records[name].cycles) for name in ("i", "o", "rows"))


@pytest.mark.parametrize("tokens", [1, 4, 5, 36, 37, 50])
@pytest.mark.parametrize("modes", [("max4",), ("lis4",), EVERY_MODE])
def test_latency_and_cycles(tokens, modes):
    config = SoftmaxConfig(4, 50, modes)
    i, o, rows = check(config, *random_rows(12, tokens), parameters("exact", modes[-1]))
    beats = config.beats(tokens)
    assert o[0] - i[beats - 1] == config.latency(tokens)
    assert np.diff(o[::beats]).tolist() == [config.cycles_per_row(tokens)] * 11
    assert (o[beats - 1 :: beats] - o[::beats] == beats - 1).all()  # no bubble inside a row
    assert (rows - o[beats - 1 :: beats] == config.rows_latency).all()
    if beats >= config.min_beats:
        assert (np.diff(i) == 1).all()  # nor any at the input


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    "mode, modes",
    [
        *((m, EVERY_MODE) for m in EVERY_MODE),
        ("max4", ("max4",)),
        ("max5", ("max3", "max5", "max8")),
        ("max8", ("max3", "max5", "max8")),
    ],
)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_tables(name, mode, modes, stall):
    p = parameters(name, mode)
    x, mask = random_rows(12, 21, seed=len(name))
    x[0], mask[0] = -128, False  # all equal
    x[1, :2], mask[1] = [127, -128], False  # the largest distance
    mask[2] = np.arange(21) != 20  # only the last is left
    mask[3] = np.arange(21) != 0
    mask[4] = True  # everywhere
    x[5] = np.arange(21) - 10
    check(SoftmaxConfig(4, 32, modes), x, mask, p, stall)


@pytest.mark.parametrize(
    "lanes, max_tokens, tokens", [(1, 1, 1), (1, 24, 24), (3, 20, 20), (8, 50, 50), (16, 33, 17)]
)
@pytest.mark.parametrize("row_norm", [False, True])
def test_shapes(lanes, max_tokens, tokens, row_norm):
    for mode in ("lis4", "max4"):
        p = parameters("exact", mode, row_norm)
        for stall in (0.0, 0.5):
            check(SoftmaxConfig(lanes, max_tokens, (mode,)), *random_rows(6, tokens), p, stall)


@pytest.mark.parametrize("unit", [Log2Code, Uniform8Code])
def test_codes_beside_their_thresholds(unit):
    """e of every size; S on and one beside each threshold of the code, and at its ends."""
    rng = np.random.default_rng(0)
    width, pairs = 36, set()
    for bits in range(25):
        e = int(rng.integers(1 << bits >> 1, 1 << bits))
        if unit is Log2Code:
            marks = [3 * e // 2, 5 * e // 2] + [((3 * e << c) - e) // 2 for c in range(2, 17)]
        else:  # p + 1/2 = 255 e / S
            marks = [510 * e // (2 * p + 1) for p in rng.integers(0, 255, 9).tolist()] + [510 * e]
        around = {S for mark in marks for S in (mark - 1, mark, mark + 1, mark + 2)}
        pairs |= {(e, S) for S in around | {e, 1, (1 << width) - 1} if max(e, 1) <= S < 1 << width}
    e, S = np.array(sorted(pairs)).T
    expected = log2_code(e, S) if unit is Log2Code else (510 * e + S) // (2 * S)
    dut, got = unit(1, width), []

    async def testbench(ctx):
        ctx.set(dut.advance, 1)
        for n in range(len(e) + unit.latency):
            if n < len(e):
                ctx.set(dut.e[0], int(e[n]))
                ctx.set(dut.sum, int(S[n]))
                if unit is Log2Code:
                    ctx.set(dut.lead, int(S[n]).bit_length() - 1)
            if n >= unit.latency:
                got.append(ctx.get(dut.code[0]))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()
    assert got == expected.tolist()
    assert set(got) == set(range(16)) or len(set(got)) > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exact", "flat", "single"])
@pytest.mark.parametrize("mode", EVERY_MODE)
def test_4096_tokens(name, mode):
    check(SoftmaxConfig(16, 4096, EVERY_MODE), *random_rows(3, 4096), parameters(name, mode))


@pytest.mark.parametrize("mode, rings", [("lis4", 2), ("max4", 1)])
def test_an_output_that_waits_fills_all_rings(mode, rings):
    """Rows of 18 beats, rings of 32: what has no room is not taken, and nothing is lost."""
    config, p = SoftmaxConfig(1, 18, (mode,)), parameters("exact", mode)
    assert config.depth == 32
    x, mask = random_rows(6, 18)
    dut = Softmax(config)
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    taken, codes = [], []

    async def source(ctx):
        ctx.set(dut.config, layer(p, 18))
        ctx.set(dut.rows.ready, 1)
        for port, payloads in ((dut.table, table(p)), (dut.i, input_beats(x, mask, 1))):
            ctx.set(port.valid, 1)
            for payload in payloads:
                ctx.set(port.payload, payload)
                await ctx.tick().until(port.ready)
                taken.append(port is dut.i)
            ctx.set(port.valid, 0)

    async def sink(ctx):
        await ctx.tick().repeat(600)
        # the rings, what the stages of the code hold, and the output
        full = rings * config.depth
        assert full <= sum(taken) <= full + config.code_latency + 2
        ctx.set(dut.o.ready, 1)
        for _ in range(x.size):
            (payload,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            codes.append(list(payload.data))

    sim.add_testbench(source, background=True)
    sim.add_testbench(sink)
    sim.run()
    assert codes == row_beats(reference(x, mask, p)[0], 1).reshape(-1, 1).tolist()


@pytest.mark.parametrize("mode", ["lis4", "max4"])
def test_unread_reciprocals_error_and_reset(mode):
    """Rows stop where the queue is full, none is lost; `error` stays until reset."""
    config, p = SoftmaxConfig(4, 12, (mode,)), parameters("exact", mode)
    rows, beats = ROWS_DEPTH + 4, 3
    x, mask = random_rows(rows, 12)
    mask[1] = True
    y, reciprocal, _ = reference(x, mask, p)
    reset = Signal()
    dut = Softmax(config)
    sim = Simulator(ResetInserter(reset)(dut))
    sim.add_clock(1e-6)
    codes = []

    async def source(ctx):
        ctx.set(dut.config, layer(p, 12))
        for port, payloads in ((dut.table, table(p)), (dut.i, input_beats(x, mask, 4))):
            ctx.set(port.valid, 1)
            for payload in payloads:
                ctx.set(port.payload, payload)
                await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)

    async def sink(ctx):
        ctx.set(dut.o.ready, 1)
        async for _, _, valid, payload in ctx.tick().sample(dut.o.valid, dut.o.payload):
            if valid:
                codes.append(list(payload.data))

    async def reader(ctx):
        assert not ctx.get(dut.error)
        await ctx.tick().repeat(600)
        assert len(codes) == ROWS_DEPTH * beats
        ctx.set(dut.rows.ready, 1)
        for expected in reciprocal:
            (payload,) = await ctx.tick().sample(dut.rows.payload).until(dut.rows.valid)
            assert payload == expected
        assert codes == row_beats(y, 4).reshape(-1, 4).tolist()
        assert ctx.get(dut.error)
        ctx.set(reset, 1)
        await ctx.tick()
        assert not ctx.get(dut.error)

    sim.add_testbench(source, background=True)
    sim.add_testbench(sink, background=True)
    sim.add_testbench(reader)
    sim.run()


@pytest.mark.parametrize(
    "error, arguments",
    [
        (ValueError, (0, 16)),
        (ValueError, (4, 0)),
        (ValueError, (4, 4097)),
        (TypeError, (4.0, 16)),
        (TypeError, (4, 16, 1)),
        (ValueError, (4, 16, ())),
        (ValueError, (4, 16, ("max4", "max4"))),
        (ValueError, (4, 16, ("max9",))),
    ],
)
def test_config_refuses(error, arguments):
    with pytest.raises(error, match=r"SoftmaxConfig\.(lanes|max_tokens|modes)"):
        SoftmaxConfig(*arguments)
