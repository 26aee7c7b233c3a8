"""fqvit_hw.rtl.flow.estimate: what is kept of a netlist's paths."""

from fqvit_hw.rtl.flow.estimate import Estimate, describe, grouped, measure
from fqvit_hw.rtl.flow.paths import BESIDE, WIRE, Paths

from .netlists import Maker, chain

CLKQ, LUT = 525, 236


def test_no_path():
    """Pins and constants start none: neither ns nor MHz are claimed."""
    made = Maker()
    made.lut(11, 20, "1")
    made.ff(10, 11)
    estimate = Estimate("gelu", "tiny")
    measure(made.module, estimate)
    assert (estimate.endpoints, estimate.ns, estimate.fmax, estimate.luts) == (0, 0, 0, 1)


def test_groups_name_registers_cells_and_nets():
    netlist = Paths(chain().module)
    (group,) = grouped(netlist, budget=1.8)
    assert (group.start, group.end, group.over) == ("first", "block.sum", 1)
    assert group.cells == {"LUT4": 2} and group.nets == ["first", "middle", "net 12"]
    assert group.ns == (CLKQ + 2 * (WIRE + LUT) + BESIDE) / 1000
    assert describe(group) == "  2.83 ns  first -> block.sum (over: 1): LUT4 x2"
