"""fqvit_hw.rtl.flow.mapped: the netlist that is placed computes what the block computes."""

from collections import Counter

import pytest

from fqvit_hw.rtl.flow import mapped
from fqvit_hw.sim.blocks.runner import run_bench

MULTIPLY = """
module top(input clk, input ce, input signed [7:0] a, input signed [7:0] b, output [15:0] o);
  reg signed [7:0] x, y; reg signed [15:0] p; assign o = p;
  initial begin x = 0; y = 0; p = 0; end
  always @(posedge clk) if (ce) begin x <= a; y <= b; p <= x * y; end
endmodule
"""


def test_registers_of_a_product_are_those_of_the_multiplier(tmp_path):
    found, done = mapped.netlist("top", MULTIPLY, "top", tmp_path)
    cells = found["modules"]["top"]["cells"].values()
    assert Counter(cell["type"] for cell in cells) == {"MULT18X18D": 1}
    assert done["flip-flops taken"] == 16 and done["dead TRELLIS_FF"] == 16


def test_yosys_that_fails_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match=r"yosys: .*; log .*yosys.txt"):
        mapped.netlist("top", "module top(; endmodule", "top", tmp_path)


@pytest.mark.parametrize("cell", [*mapped.FABRIC, *mapped.HARD_BLOCKS])
def test_there_is_a_model_of_every_cell(cell):
    text = mapped.model(cell)
    assert f"module {cell}" in text and text.count("endmodule") == 1 and "specify" not in text


def test_a_cell_without_a_model_is_refused():
    with pytest.raises(ValueError, match="no model of cell ALU54B"):
        mapped.model("ALU54B")


def gates(block: str, config: str, folder, **options) -> Counter:
    """Run the block's bench on its netlist; what `absorb` did."""
    counts: Counter = Counter()

    def mutate(text: str) -> str:
        found, done = mapped.netlist(block, text, block, folder / "mapped")
        counts.update(done)
        return mapped.verilog(found, folder / "mapped")

    result = run_bench(block, config, mutate=mutate, folder=folder / "bench", **options)
    assert result.failure is None and result.beats > 0
    return counts


def test_a_netlist_computes_what_its_block_computes(tmp_path):
    """With X where a hard block's answer is not known: none reaches an output."""
    gates("requantize", "lanes1_w8", tmp_path, case="random_7")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "config", "case"),
    [
        ("mac_array", "4x4", "random_5x17x9"),
        ("layernorm", "lanes4_w8", "random_64"),
        ("softmax", "lanes4", "max4_random"),
        ("gelu", "lanes1_w10", "index10"),
    ],
)
def test_whole_blocks_as_netlists(block, config, case, tmp_path):
    """One golden case each, steady, stalled and after a reset: gates are slow."""
    counts = gates(block, config, tmp_path, case=case)
    if block in ("mac_array", "layernorm"):
        assert counts["multiplier outputs"] > 0
