"""rtl.parts.adder_tree: the sum of any number of values, as late as tree_latency says."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed

from fqvit_hw.rtl.parts.adder_tree import adder_tree, tree_latency
from tests.rtl.parts.arithmetic import results


@pytest.mark.parametrize(("count", "latency"), [(1, 0), (2, 1), (4, 1), (5, 2), (16, 2), (17, 3)])
def test_sums(count, latency):
    assert tree_latency(count) == latency
    m, values = Module(), [Signal(signed(8), name=f"value{n}") for n in range(count)]
    numbers = np.random.default_rng(count).integers(-128, 128, (count, 20))
    numbers[:, 0], numbers[:, 1] = -128, 127
    inputs = [(value, row) for value, row in zip(values, numbers.tolist(), strict=True)]
    assert results(m, inputs, adder_tree(m, values, "value"), latency) == numbers.sum(0).tolist()
