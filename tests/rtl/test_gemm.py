"""rtl.gemm, rtl.weights and rtl.tiles together: random programs, exact cycles, waits, tiles."""

from __future__ import annotations

import random

import numpy as np
import pytest

from fqvit_hw.isa import Unit
from rtl.gemm import ROOM, Gemm

from .array import Chip, Pace, gemm, run, size

SIZES = {"4x4": size(4, 4, 1, 64), "4x4 wide bus": size(4, 4, 1, 128), "8x16": size(8, 16, 2, 64)}
TINY = SIZES["4x4"]


def random_gemm(hw, rng: random.Random):
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
        "bitshift": rng.randint(0, 1),
    }
    for n in range(2):
        fields[f"wait{n}_unit"] = rng.choice(list(Unit))
        fields[f"wait{n}_count"] = rng.randint(0, 300)
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
    program = [random_gemm(hw, rng) for _ in range(12)]
    run(chip, program, PACES[pace], writes=tile_writes(chip))
