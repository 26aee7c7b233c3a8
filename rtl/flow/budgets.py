"""How long a clock may be, unit by unit: ns of `rtl.flow.timing`'s estimate, for a test to hold.

The aim is 7.5 ns for every unit, which makes 100 MHz when routed. A budget is what a unit needs
today, rounded up to a tenth: whoever makes one faster lowers its number here, whoever makes one
slower has a test that names the path. `slow`: mapping takes too long for `make test`; `make
test-slow` holds these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amaranth.lib import wiring

from fqvit_hw.machine.hardware import HARDWARE

from ..accelerator.axi_read import AxiRead
from ..accelerator.axi_write import AxiWrite
from ..accelerator.control import Control
from ..accelerator.epilogue import EpilogueUnit
from ..accelerator.gemm import Gemm
from ..accelerator.load import Load
from ..accelerator.sequencer import Sequencer
from ..accelerator.store import Store
from ..accelerator.weights import Weights
from .configs import component
from .estimate import Estimate, measure
from .mapped import netlist
from .pin_harness import Harness
from .timing import TOP
from .verilog import convert

ECP5 = HARDWARE["ecp5_85k"]


@dataclass(frozen=True)
class Unit:
    """make: the component, for its harness; ns: the budget."""

    make: Callable[[], wiring.Component]
    ns: float
    slow: bool = False


UNITS = {
    "axi_read ecp5_85k": Unit(lambda: AxiRead(ECP5, clients=3), 7.0),
    "axi_write ecp5_85k": Unit(lambda: AxiWrite(ECP5), 7.1),
    "control ecp5_85k": Unit(lambda: Control(ECP5), 8.4),
    "load ecp5_85k": Unit(lambda: Load(ECP5), 9.2),
    "store ecp5_85k": Unit(lambda: Store(ECP5), 8.4),
    "weights ecp5_85k": Unit(lambda: Weights(ECP5), 8.1),
    "softmax ecp5_85k": Unit(lambda: component("softmax", "ecp5_85k"), 7.4),
    "mac_array tiny": Unit(lambda: component("mac_array", "tiny"), 7.8),
    "gelu tiny": Unit(lambda: component("gelu", "tiny"), 7.2),
    "requantize tiny": Unit(lambda: component("requantize", "tiny"), 7.5, slow=True),
    "residual tiny": Unit(lambda: component("residual", "tiny"), 7.5, slow=True),
    "gemm ecp5_85k": Unit(lambda: Gemm(ECP5), 8.9, slow=True),
    "epilogue ecp5_85k": Unit(lambda: EpilogueUnit(ECP5), 8.3, slow=True),
    "sequencer ecp5_85k": Unit(lambda: Sequencer(ECP5), 7.1, slow=True),
    "layernorm tiny": Unit(lambda: component("layernorm", "tiny"), 7.4, slow=True),
    "softmax tiny": Unit(lambda: component("softmax", "tiny"), 7.5, slow=True),
}


def estimate(name: str, folder: Path) -> Estimate:
    """Map a unit of the table and time it; its budget counts the endpoints that are over."""
    unit, (block, config) = UNITS[name], name.split()
    found, _ = netlist(block, convert(Harness(unit.make()), TOP), TOP, folder)
    made = Estimate(block, config)
    measure(found["modules"][TOP], made, unit.ns)
    return made
