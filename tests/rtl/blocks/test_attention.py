"""rtl attention in Amaranth's simulator: exact latency and cycles, heads in a row, its parts."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from fqvit_hw.rtl.blocks.attention import Attention, AttentionConfig
from fqvit_hw.rtl.parts.replay import Replay, ReplayConfig
from fqvit_hw.rtl.parts.row_norm import RowNorm, RowNormConfig
from fqvit_hw.sim.blocks.attention import cycles, random_case, random_cases, transaction
from fqvit_hw.sim.blocks.stream import pack, row_beats, unpack
from fqvit_hw.units.attention import normalize_rows
from fqvit_hw.vectors.cases import Case
from tests.rtl.streams import drive

SQUARE = AttentionConfig(4, 4, 17, 16, bias=True)
ODD = AttentionConfig(3, 5, 17, 10, bias=True, modes=("max4", "lis4", "uniform8"))
SHIFTERS = AttentionConfig(4, 4, 9, 8, modes=("lis4", "max5"), shifters=True)
ONE_TILE = AttentionConfig(8, 4, 9, 8)


def join(transactions):
    """Heads of one layer, back to back."""
    first = transactions[0]
    inputs = {name: [b for t in transactions for b in t.inputs[name]] for name in first.inputs}
    outputs = {"o": [b for t in transactions for b in t.outputs["o"]]}
    return replace(first, inputs=inputs, outputs=outputs)


def run(config: AttentionConfig, cases: list[Case], stall: float = 0.0):
    """Compare every beat; returns the records of the streams."""
    t = join([transaction(config, case) for case in cases])
    records = drive(
        Attention(config), t.inputs, {"o": len(t.outputs["o"])},
        constants=t.constants, tables=t.tables, stall=stall,
    )  # fmt: skip
    assert records["o"].beats == t.outputs["o"]
    return records


def heads(config: AttentionConfig, tokens: int, head_dim: int, n: int) -> list[Case]:
    rng = np.random.default_rng([tokens, head_dim])
    return [random_case(rng, f"head{h}", tokens, head_dim, config.modes[0]) for h in range(n)]


@pytest.mark.parametrize(
    "config", [SQUARE, ODD, ONE_TILE, SHIFTERS], ids=["4x4", "3x5", "8x4", "shifters"]
)
@pytest.mark.parametrize("tokens,stall", [(1, 0.0), (4, 0.4), (9, 0.0), (9, 0.4)])
def test_masks_biases_and_modes(config, tokens, stall):
    for case in random_cases(config, tokens):
        run(config, [case], stall)


# d_tiles * k_tiles: 20, 3 (the softmax needs 9), 20, 1
@pytest.mark.parametrize(
    "config,tokens,head_dim",
    [(SQUARE, 17, 16), (SQUARE, 9, 3), (ODD, 17, 10), (ONE_TILE, 4, 8)],
)
def test_no_bubbles_between_queries_and_heads(config, tokens, head_dim):
    cases = heads(config, tokens, head_dim, 3)
    records = run(config, cases)
    beats = config.d_tiles(head_dim)
    interval = config.cycles_per_row(tokens, head_dim)
    assert interval == max(beats * config.k_tiles(tokens), 9)
    starts = records["o"].cycles[::beats]
    assert np.diff(starts).tolist() == [interval] * (3 * tokens - 1)
    begin = min(records[name].cycles[0] for name in "qkv")
    assert records["o"].cycles[-1] - begin == cycles(config, tokens, head_dim, heads=3)


def late_queries(dut: Attention, t, delay: int):
    """Constants; a cycle later keys and values; queries after `delay` cycles.

    Returns (beats of `o`, cycles of `q`'s handshakes, cycles of `o`'s, error).
    """
    beats, taken, given, errors = [], [], [], []

    def source(name, payloads, wait):
        port = getattr(dut, name)

        async def testbench(ctx):
            cycle = 0
            while cycle < wait:
                await ctx.tick()
                cycle += 1
            for payload in payloads:
                ctx.set(port.payload.as_value(), pack(port.payload.shape(), payload))
                ctx.set(port.valid, 1)
                ready = 0
                while not ready:
                    _, _, ready = await ctx.tick().sample(port.ready)
                    cycle += 1
                if name == "q":
                    taken.append(cycle - 1)
                ctx.set(port.valid, 0)

        return testbench

    async def sink(ctx):
        ctx.set(dut.config.as_value(), pack(dut.config.shape(), t.constants["config"]))
        ctx.set(dut.o.ready, 1)
        cycle = 0
        while len(beats) < len(t.outputs["o"]):
            _, _, valid, bits = await ctx.tick().sample(dut.o.valid, dut.o.payload.as_value())
            if valid:
                beats.append(unpack(dut.o.payload.shape(), bits))
                given.append(cycle)
            cycle += 1
        errors.append(ctx.get(dut.error))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(sink)
    for name, payloads in {**t.tables, **t.inputs}.items():
        sim.add_testbench(source(name, payloads, delay if name == "q" else 1))
    sim.run()
    return beats, taken, given, errors[0]


@pytest.mark.parametrize(
    "config", [SQUARE, ODD, ONE_TILE, SHIFTERS], ids=["4x4", "3x5", "8x4", "shifters"]
)
@pytest.mark.parametrize("tokens,head_dim", [(1, 1), (9, 8), (6, 5)])
def test_latency(config, tokens, head_dim):
    t = transaction(config, heads(config, tokens, head_dim, 1)[0])
    dut = Attention(config)
    beats, taken, given, _ = late_queries(dut, t, delay=300)
    assert beats == t.outputs["o"]
    assert given[0] - taken[config.d_tiles(head_dim) - 1] == dut.latency(tokens, head_dim)


def test_query_masked_everywhere_raises_error():
    case = random_case(np.random.default_rng(0), "masked", 3, 4, "max4")
    t = transaction(ONE_TILE, case)
    assert late_queries(Attention(ONE_TILE), t, delay=300)[3] == 0
    t.constants["config"]["mask"] = 1
    t.inputs["mask"] = [{"data": [1, 1, 1, 0]}, {"data": [0] * 4}, {"data": [0] * 4}]
    beats, _, _, error = late_queries(Attention(ONE_TILE), t, delay=300)
    zero = case.scalar("context_zero")
    assert beats[0] == {"data": [zero] * 4 + [0] * 4, "last": 1}
    assert beats[1:] == t.outputs["o"][1:]
    assert error == 1


def test_bias_is_left_alone_where_the_layer_has_none():
    """A beat of biases is offered from the start: it is neither taken nor added."""
    t = transaction(SQUARE, heads(SQUARE, 5, 7, 1)[0])
    t.inputs["bias"] = [{"data": [10**9] * 4}]
    with pytest.raises(AssertionError, match="bias: 0 of 1 beats were taken"):
        drive(
            Attention(SQUARE), t.inputs, {"o": len(t.outputs["o"])},
            constants=t.constants, tables=t.tables, limit=900,
        )  # fmt: skip


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("length,steps", [(1, 1), (5, 1), (8, 9), (9, 5)])
def test_replay(length, steps, stall):
    rng = np.random.default_rng(length)
    dut = Replay(ReplayConfig(lanes=4, width=8, max_length=10, step=3, max_steps=9))
    rows = rng.integers(0, 256, (5, -(-length // 4), 4)).tolist()
    expected = [
        {
            "data": beat,
            "inside": sum(1 << n for n in range(4) if 4 * b + n < length),
            "first": int(b == 0),
            "last": int(b == len(row) - 1),
            "done": int(b == len(row) - 1 and step + 3 >= steps),
        }
        for row in rows
        for step in range(0, steps, 3)
        for b, beat in enumerate(row)
    ]
    records = drive(
        dut, {"i": [{"data": beat} for row in rows for beat in row]}, {"o": len(expected)},
        constants={"length": length, "steps": steps}, stall=stall,
    )  # fmt: skip
    assert records["o"].beats == expected
    if not stall:
        assert records["o"].cycles[0] - records["i"].cycles[len(rows[0]) - 1] == Replay.latency
        assert np.all(np.diff(records["o"].cycles) == 1)


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_row_norm(stall):
    """Sums up to 28 bits, reciprocals over their whole range and shifts of all row sums."""
    rng = np.random.default_rng(7)
    reciprocal = np.array([2**16, 2**15, 21845, 21846, 40000, 65535])
    shift = np.array([15, 15, 9, 14, 20, 21])
    bound = 2.0 ** (shift + 22) / reciprocal  # the result stays within 2^22, as the model demands
    acc = (rng.uniform(-1, 1, (6, 7)) * np.minimum(bound, 2**27)[:, None] * 0.999).astype(np.int64)
    acc[1, :2] = -(2**22), 2**22 - 1
    acc[2] = np.arange(7) - 3 << 8  # ties at 2^9
    acc[5, :2] = -(2**26), 2**26 - 1
    dut = RowNorm(RowNormConfig(lanes=3, max_length=7, bits=28))
    expected = normalize_rows(acc, reciprocal[:, None], shift[:, None])
    inputs = {
        "i": [{"data": b.tolist()} for b in row_beats(acc, 3).reshape(-1, 3)],
        "rows": [
            {"reciprocal": int(r), "shift": int(s)} for r, s in zip(reciprocal, shift, strict=True)
        ],
    }
    records = drive(dut, inputs, {"o": 18}, constants={"length": 7}, stall=stall)
    got = [b["data"] for b in records["o"].beats]
    np.testing.assert_array_equal(got, row_beats(expected, 3).reshape(-1, 3))
    if not stall:
        assert records["o"].cycles[0] - records["i"].cycles[0] == RowNorm.latency
        assert np.all(np.diff(records["o"].cycles) == 1)


def test_row_norm_lets_wide_accumulators_through():
    acc = [-(2**31), 2**31 - 1, 1]
    dut = RowNorm(RowNormConfig(lanes=3, max_length=3, bits=23, wide=True))
    inputs = {"i": [{"data": acc}], "rows": [{"reciprocal": 40000, "shift": 9}]}
    records = drive(dut, inputs, {"o": 1}, constants={"length": 3, "wide": 1})
    assert records["o"].beats == [{"data": acc}]


@pytest.mark.parametrize(
    "fields", [{"rows": 0}, {"cols": 0}, {"max_tokens": 0}, {"max_tokens": 4097}, {"head_dim": 0}]
)
def test_refused_configurations(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        AttentionConfig(**{"rows": 4, "cols": 4, "max_tokens": 17, "head_dim": 16} | fields)
