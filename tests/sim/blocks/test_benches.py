"""Every bench, in its small configurations, passes on Icarus Verilog."""

from __future__ import annotations

import pytest

from fqvit_hw.blocks import BLOCKS
from fqvit_hw.sim.blocks.runner import TESTS, configurations, run_bench


def benches():
    for block in BLOCKS:
        try:
            names = configurations(block, "small")
        except ModuleNotFoundError:
            names = ["no bench"]  # a failure of this block, not of the whole file
        assert names, block
        yield from ((block, name) for name in names)


@pytest.mark.parametrize(("block", "config"), list(benches()))
def test_bench(block, config):
    result = run_bench(block, config)
    assert result.failure is None
    assert {case["mode"] for case in result.cases} == {"steady", "stalls", "reset"}
    cases = [case["case"] for case in result.cases]
    assert len(cases) == len(TESTS) * len(set(cases))  # each case once a mode
    assert result.beats >= len(cases)
