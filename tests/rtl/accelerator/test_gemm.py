"""gemm, weights and tiles together: random programs, exact cycles, waits, tiles."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from fqvit_hw.attention_codes import MODES
from fqvit_hw.machine.hardware import LARGE
from fqvit_hw.machine.isa import Unit
from fqvit_hw.rtl.accelerator.gemm import ROOM
from fqvit_hw.rtl.accelerator.tiles import Tiles
from fqvit_hw.rtl.flow.verilog import convert
from tests.rtl.array import Chip, Pace, gemm, run, size

SIZES = {
    "4x4": size(4, 4, 1, 64),
    "4x4 shifters": size(4, 4, 1, 128, modes=("lis4", "uniform8", "max4"), shifters=True),
    "4x4 shifters alone": size(4, 4, 1, 64, modes=("lis4",), shifters=True),
    "4x8 pairs": size(4, 8, 1, 64, modes=("max4", "uniform8"), wide_multipliers=True),
    "8x16": size(8, 16, 2, 64, modes=("max4", "lis4", "max5")),
}
TINY = SIZES["4x4"]


def random_gemm(hw, rng: random.Random, number: int):
    """Anything that the contract allows in the small memories of `size`."""
    rows = rng.randint(1, hw.sums)
    fields = {
        "rows": rows,
        "row_group": rng.randint(1, rows),
        "from_base": rng.randint(0, 20),
        "from_stride": rng.randint(0, 5),
        "from_jump": rng.randint(0, 12),
        "k_tiles": rng.randint(1, 4),
        "outer": rng.randint(1, 3),
        "codes": rng.randint(0, 1),
        "mode": list(MODES).index(rng.choice(hw.modes)),
    }
    for n in range(2):
        fields[f"wait{n}_unit"] = rng.choice(list(Unit))
        fields[f"wait{n}_count"] = rng.randint(0, 200) + 80 * number
    fields["wait0_step"] = rng.randint(0, 1)
    if rng.randint(0, 1):
        fields |= {
            "resident": 1,
            "inner": rng.randint(1, 3),
            "tile_base": rng.randint(hw.ring, hw.ring + 4),
            "tile_inner": rng.randint(0, 1),
            "tile_k": rng.randint(0, 3),
        }
    else:
        fields["k_groups"] = rng.randint(1, 3)
        fields["address"] = rng.randrange(0, 16384, hw.bus_bytes)
    return gemm(**fields)


def tile_writes(chip: Chip):
    """All resident tiles through the epilogue's port, keys and values in turn."""
    hw, writes = chip.hw, []
    for tile in range(hw.ring, hw.tiles):
        content = chip.tiles[tile]
        lanes = content if tile % 2 else content.T
        for lane, values in enumerate(lanes):
            for at in range(0, len(values), hw.lanes):
                chunk = [int(x) & 255 for x in values[at : at + hw.lanes]]
                writes.append({"kind": tile % 2, "tile": tile, "lane": lane, "at": at,
                               "mask": (1 << hw.lanes) - 1, "data": chunk})  # fmt: skip
    return writes


PACES = {
    "steady": Pace(),
    "slow rows": Pace(row=0.2, count=0.7),
    "slow memory": Pace(request=0.3, answer=0.4, latency=30),
    "all at random": Pace(0.3, 0.6, 0.5, 0.7, 0.3, 0.5, latency=7),
}


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("name", SIZES)
def test_random_programs(name, pace):
    hw = SIZES[name]
    rng = random.Random(f"{name} {pace}")
    chip = Chip.random(hw)
    program = [random_gemm(hw, rng, n) for n in range(12)]
    run(chip, program, PACES[pace], writes=tile_writes(chip))


def resident(hw, **fields):
    return gemm(resident=1, tile_base=hw.ring, **fields)


def never_late(cycle):
    return {unit: 1000 for unit in Unit if unit is not Unit.NONE}


@pytest.mark.parametrize("name", ["4x4", "8x16"])
def test_no_bubbles(name):
    """Between rows, column tiles and GEMMs; the latency; GEMMs of fewer than 4 beats cost 4."""
    hw = SIZES[name]
    chip = Chip.random(hw)
    program = [
        resident(hw, rows=5, row_group=5, k_tiles=1, from_stride=1, wait0_unit=1, wait0_count=990),
        resident(hw, rows=2, row_group=2, k_tiles=2, inner=3, tile_inner=2, tile_k=1, outer=2),
        resident(hw, rows=4, row_group=2, codes=1, wait0_unit=2, wait0_step=1, wait1_unit=3),
        resident(hw, k_tiles=3, tile_k=1),
        resident(hw),
        resident(hw, rows=6),
    ]
    trace = run(chip, program, counts=never_late, writes=tile_writes(chip))
    start = trace.beats[0]
    assert start == trace.taken[0] + 5
    gaps = np.diff(trace.beats) - 1
    counts = np.cumsum([5, 24, 4, 3, 1])
    wanted = np.zeros(len(trace.beats) - 1, int)
    wanted[counts - 1] = [0, 0, 0, 1, 3]
    assert gaps.tolist() == wanted.tolist()
    busy = [n - 1 for n, state in enumerate(trace.states) if state == "busy"]
    assert busy == trace.beats
    others = {state for n, state in enumerate(trace.states) if n - 1 not in trace.beats}
    assert others == {"idle"}
    first_row, last_beat = trace.rows[0], trace.beats[-1]
    latency = {"4x4": 10, "8x16": 11}[name]
    assert trace.latency == latency == first_row - start == trace.rows[-1] - last_beat


def test_streamed_weights_without_bubbles():
    """A tile of 16 bytes takes 2 bus cycles, 4 rows a tile need one in 4: two GEMMs, 3 groups."""
    chip = Chip.random(TINY)
    shape = {"rows": 8, "row_group": 8, "k_tiles": 3, "k_groups": 3, "outer": 2}
    program = [gemm(**shape), gemm(**shape, address=2048)]
    trace = run(chip, program, counts=never_late)
    assert len(trace.beats) == 2 * 8 * 3 * 3 * 2
    late = trace.beats[3 * 8] - trace.beats[0] - 3 * 8  # the first group came in while it was read
    assert np.diff(trace.beats[3 * 8 :]).tolist() == [1] * (len(trace.beats) - 3 * 8 - 1)
    assert trace.states.count("tile") >= late


def test_weights_are_requested_ahead():
    """While the array waits for its first row, the ring fills, and then the queue of beats with
    what the next GEMM needs, up to a burst that has no room.
    """
    chip, hw = Chip.random(TINY), TINY
    program = [
        gemm(rows=2, k_tiles=4, outer=2, wait0_unit=Unit.NORM, wait0_count=1),
        gemm(rows=2, k_tiles=4, outer=8, address=1024),
    ]
    trace = run(chip, program, counts=lambda cycle: {Unit.NORM: cycle >= 400})
    ahead = sum(cycle < 400 for cycle in trace.answers)
    tiles, parameters = hw.ring * 2, 3 * 4  # beats unpacked: 9 tiles are of 3 column tiles
    most = tiles + parameters + hw.prefetch
    assert most - hw.burst < ahead <= most
    assert len(trace.answers) == 10 * (4 + 4 * 2)


@pytest.mark.parametrize("unit,state", [(Unit.NORM, "norm"), (Unit.CODES, "codes"),
                                        (Unit.EPILOGUE, "acts"), (Unit.ARRAY, "acts")])  # fmt: skip
def test_waits(unit, state):
    """A count of cycle t lets row 0 go in cycle t + 4, another one in t + 3."""
    chip = Chip.random(TINY)
    row_by_row = {"wait0_unit": unit, "wait0_step": 1, "row_group": 4, "k_tiles": 2}
    program = [
        resident(TINY, **row_by_row, rows=4, wait0_count=7, wait1_unit=Unit.LOAD, wait1_count=3,
                 outer=2),
        resident(TINY, **row_by_row, rows=2, wait0_count=11),
    ]  # fmt: skip

    def counts(cycle):
        reached = sum(cycle >= when for when in (20, 40, 40, 60, 61, 80))  # 7, 9, 10, 11, 12
        return {unit: 6 + reached, Unit.LOAD: 3 if cycle >= 30 else 2}

    trace = run(chip, program, counts=counts, writes=tile_writes(chip))
    rows = [34, 43, 45, 63, *range(65, 73, 2), 73, 83]
    assert trace.beats == [beat for row in rows for beat in (row, row + 1)]
    assert trace.finished == [row + 2 for row in rows]
    assert set(trace.states[11:24]) == {state}
    assert set(trace.states[24:34]) == {"acts"}  # wait1
    for first, end in ((37, 44), (48, 64), (76, 84)):
        assert set(trace.states[first:end]) == {state}


def test_output_queue():
    """ROOM rows at most are on their way or in the queue; the rest wait for room."""
    chip = Chip.random(TINY)
    program = [resident(TINY, rows=ROOM, row_group=ROOM, outer=2)]
    with pytest.raises(AssertionError, match=f"^{ROOM} of {2 * ROOM} beats, 0 of"):
        run(chip, program, Pace(row=0.0), counts=never_late, limit=100)
    deep = [resident(TINY, rows=ROOM, row_group=ROOM, outer=2, k_tiles=3)]  # 2 beats need no room
    with pytest.raises(AssertionError, match=f"^{3 * ROOM + 2} of {6 * ROOM} beats, 0 of"):
        run(chip, deep, Pace(row=0.0), counts=never_late, limit=100)
    trace = run(chip, program, Pace(row=0.3), counts=never_late, writes=tile_writes(chip))
    assert "room" in trace.states
    for n, taken in enumerate(trace.rows[:ROOM]):
        assert trace.beats[n + ROOM] > taken


@pytest.mark.parametrize("poison", [False, True])
@pytest.mark.parametrize("name", SIZES)
def test_tile_lanes(name, poison):
    """Masked pieces of rows (values) and columns (keys), and beats of weights refused meanwhile;
    with `poison` the bytes that are read in the cycle after their write come inverted.
    """
    hw = SIZES[name]
    tiles, rng = Tiles(hw, poison), random.Random(name)
    wanted = np.zeros((hw.tiles, hw.tile_bytes), int)
    refused = 0

    async def bench(ctx):
        nonlocal refused
        seen = [bytes(hw.tile_bytes)]
        writes = []  # of the cycle before: tile, byte, value
        for _ in range(400):
            lanes, weights = rng.random() < 0.5, rng.random() < 0.8
            kind, tile, mask = rng.randrange(2), rng.randrange(hw.tiles), rng.getrandbits(hw.lanes)
            lane = rng.randrange(hw.rows if kind else hw.cols)
            at = rng.randrange(0, hw.cols if kind else hw.rows, hw.lanes)
            values = [rng.randrange(256) for _ in range(hw.lanes)]
            fields = {"valid": lanes, "kind": kind, "tile": tile, "lane": lane, "at": at}
            for field, value in (fields | {"data": values, "mask": mask}).items():
                ctx.set(getattr(tiles.epilogue, field), value)
            other, beat = rng.randrange(hw.tiles), rng.randrange(hw.tile_bytes // hw.bus_bytes)
            content = rng.randbytes(hw.bus_bytes)
            fields = {"valid": weights, "tile": other, "beat": beat}
            for field, value in (fields | {"data": int.from_bytes(content, "little")}).items():
                ctx.set(getattr(tiles.weights, field), value)
            read = rng.choice([tile, other])
            ctx.set(tiles.array.addr, read)
            await ctx.delay(0)
            assert ctx.get(tiles.weights.ready) == (not lanes)
            refused += lanes and weights
            before = wanted[read].copy()
            for written, byte, value in writes:
                wanted[written, byte] = value
                if poison and written == read:
                    before[byte] ^= 0xFF
            seen.append(bytes(before.tolist()))
            writes = []
            if lanes:
                for n, value in enumerate(values):
                    r, c = (lane, at + n) if kind else (at + n, lane)
                    if mask >> n & 1:
                        writes.append((tile, c * hw.rows + r, value))
            elif weights:
                first = beat * hw.bus_bytes
                writes = [(other, first + n, value) for n, value in enumerate(content)]
            await ctx.tick()
            assert ctx.get(tiles.array.data).to_bytes(hw.tile_bytes, "little") == seen[-2]

    sim = Simulator(tiles)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert refused > 50


def test_spoiled_tiles_are_read_by_verilator():
    """It refuses lines of more than 40,000 tokens; a tile of `large` has 8,192 bits."""
    text = convert(Tiles(LARGE, poison=True), "tiles")
    assert max(map(len, text.splitlines())) < 40_000
