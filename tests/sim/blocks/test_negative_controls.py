"""A bench that cannot fail proves nothing: one wrong vector bit, one broken operator per block."""

from __future__ import annotations

import re

import pytest

from fqvit_hw.blocks import BLOCKS
from fqvit_hw.sim.blocks.runner import configurations, run_bench

DIFFERENCE = re.compile(r"(beat|logit) \d+ differs: ")
MISMATCH = re.compile(
    rf"{DIFFERENCE.pattern}|no handshake in \d+ cycles|beat \d+ after the last|size 2, burst 1"
)


@pytest.mark.parametrize("block", BLOCKS)
def test_flipped_vector_bit(block, tmp_path):
    config = configurations(block, "small")[0]
    case, folder = BLOCKS[block].broken.case, tmp_path / "bench"
    result = run_bench(block, config, case=case, flip=True, folder=folder)
    assert not result.passed
    assert DIFFERENCE.search(result.failure), result.failure


@pytest.mark.parametrize("block", BLOCKS)
def test_broken_operator(block, tmp_path):
    broken = BLOCKS[block].broken

    def mutate(verilog: str) -> str:
        text, places = re.subn(broken.pattern, broken.replacement, verilog)
        assert places, f"{block}: {broken.pattern} is not in the Verilog"
        return text

    config = configurations(block, "small")[0]
    folder = tmp_path / "bench"
    result = run_bench(block, config, case=broken.case, mutate=mutate, folder=folder)
    assert not result.passed
    assert MISMATCH.search(result.failure), result.failure
