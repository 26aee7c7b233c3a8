"""fqvit_hw.rtl.flow.mapped_xcup: an array of DSP48E2s computes what its block computes."""

from collections import Counter

import pytest

from fqvit_hw.rtl.blocks.mac_array import MacArray
from fqvit_hw.rtl.flow import mapped_xcup, synth, verilog
from fqvit_hw.sim.blocks.mac_array import CONFIGURATIONS
from fqvit_hw.sim.blocks.runner import run_bench

CONFIG = "4x5_pairs"
REGISTERS = {"AREG": 1, "DREG": 1, "ADREG": 1, "BREG": 2, "MREG": 1, "PREG": 1}


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """The cells of a small array, and its netlist as Verilog."""
    parameters = CONFIGURATIONS[CONFIG]
    text = verilog.source(
        "mac_array", CONFIG, vars(parameters), MacArray(parameters),
        platform=synth.PLATFORMS["xcup"],
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("mapped")
    found, gates = mapped_xcup.netlist("mac_array", text, "mac_array", folder)
    return found["modules"]["mac_array"]["cells"].values(), gates


def test_a_pair_is_one_multiplier_with_its_own_registers(mapped):
    cells, _ = mapped
    dsps = [cell for cell in cells if cell["type"] == "DSP48E2"]
    assert len(dsps) == 4 * 3  # columns 0 and 1, 2 and 3, 4 alone
    for cell in dsps:
        assert {name: int(cell["parameters"][name], 2) for name in REGISTERS} == REGISTERS
        enables = {
            name: cell["connections"][name] for name in ("CEA2", "CED", "CEB1", "CEM", "CEP")
        }
        assert len({tuple(bits) for bits in enables.values()}) == 1
    # no register of a product is left outside: each of 4 x 5 would have 17 bits
    columns = 4 * 9 + 2 * 17 * 5  # operands, the tree's
    assert Counter(cell["type"] for cell in cells)["FDRE"] < columns + 1300


@pytest.mark.parametrize("case", ["extremes_int8", "extremes_uint8", "random_5x17x9"])
def test_a_netlist_of_pairs_computes_what_its_block_computes(case, mapped, tmp_path):
    """Steady, stalled and after a reset; what a DSP48E2's model does not know is X, and none of it
    reaches an output."""
    result = run_bench("mac_array", CONFIG, case=case, mutate=lambda _: mapped[1], folder=tmp_path)
    assert result.failure is None and result.beats > 0


def test_a_cell_without_a_model_is_refused():
    with pytest.raises(ValueError, match="no model of cell URAM288"):
        mapped_xcup.model("URAM288")
