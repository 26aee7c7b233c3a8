"""A bench that cannot fail proves nothing: one wrong vector bit, one broken operator per block."""

from __future__ import annotations

import re

import pytest

from fqvit_hw.sim.blocks.runner import BLOCKS, configurations, run_bench

# One operator of each block's datapath (in every lane of it): a pattern in its Verilog, anchored to
# names that stand in the Amaranth source, and what takes its place.
BROKEN = {
    # the shift of the product forgets the sign
    "requantize": (r"(\$signed\(product\d+\)) >>> ", r"\1 >> "),
    # a partial sum of a column subtracts
    "mac_array": (r"(\$signed\(terms\w*\[[\d:]+\]\)) \+ ", r"\1 - "),
    # the input zero is added
    "layernorm": (r"(\$signed\(codes\[[\d:]+\]\)) - ", r"\1 + "),
    # the distance from the row's maximum becomes a sum
    "softmax": (r"(\$signed\(\w*highest\)) - ", r"\1 + "),
    # the product of the linear part is not shifted down
    "gelu": (r"(product\d+) >> ", r"\1 << "),
    # the branch is subtracted
    "residual": (r"(\$signed\(x_product\d+\)) \+ ", r"\1 - "),
    # in its score requantize: the shift forgets the sign
    "attention": (r"(\$signed\(product\d+\)) >>> ", r"\1 >> "),
    # write bursts claim beats of half the bus
    "accelerator": (r"(\bm_axi_awsize = 3'h)3", r"\g<1>2"),
}
CASE = {"accelerator": "no error"}  # all its cases take long
DIFFERENCE = re.compile(r"(beat|logit) \d+ differs: ")
MISMATCH = re.compile(
    rf"{DIFFERENCE.pattern}|no handshake in \d+ cycles|beat \d+ after the last|size 2, burst 1"
)


def test_every_block_has_a_broken_operator():
    assert set(BROKEN) == set(BLOCKS)


@pytest.mark.parametrize("block", BLOCKS)
def test_flipped_vector_bit(block, tmp_path):
    config = configurations(block, "small")[0]
    result = run_bench(block, config, case=CASE.get(block), flip=True, folder=tmp_path / "bench")
    assert not result.passed
    assert DIFFERENCE.search(result.failure), result.failure


@pytest.mark.parametrize("block", BLOCKS)
def test_broken_operator(block, tmp_path):
    pattern, replacement = BROKEN[block]

    def mutate(verilog: str) -> str:
        text, places = re.subn(pattern, replacement, verilog)
        assert places, f"{block}: {pattern} is not in the Verilog"
        return text

    config = configurations(block, "small")[0]
    case, folder = CASE.get(block), tmp_path / "bench"
    result = run_bench(block, config, case=case, mutate=mutate, folder=folder)
    assert not result.passed
    assert MISMATCH.search(result.failure), result.failure
