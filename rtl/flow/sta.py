"""OpenSTA on a mapped netlist: the shortest period of its clock, before layout.

Wires have neither capacitance nor delay and the clock arrives everywhere at once. Inputs come at
the clock's edge, outputs are due at the next one, as from and to ideal registers; the reset and the
constants of a layer (docs/rtl.md) have all the time they need. Memories answer rams.ACCESS after
the edge.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fqvit_hw.errors import ToolError

from .liberty import LIBRARY

PERIOD = 10.0  # ns, that the paths are held against; no figure depends on it
STILL = ("rst", "config_bits")  # ports that hold still while beats pass
ENDS = re.compile(r"^(Startpoint|Endpoint): (\S+) \(", re.MULTILINE)
SLACK = re.compile(r"^ +(-?[\d.]+) +slack \((?:MET|VIOLATED)\)$", re.MULTILINE)


@dataclass(frozen=True)
class Slowest:
    """ns: the period that the slowest path takes; start, end: instances or ports of the netlist."""

    ns: float
    start: str
    end: str


def script(top: str, ports: Iterable[str], rams: bool) -> str:
    """OpenSTA's commands; rams: there is a rams.lib beside cells.lib and netlist.v."""
    still = " ".join(port for port in ports if port in STILL)
    libraries = ["cells.lib", "rams.lib"] if rams else ["cells.lib"]
    return "\n".join(
        [
            *(f"read_liberty {name}" for name in libraries),
            "read_verilog netlist.v",
            f"link_design {top}",
            f"create_clock -name clk -period {PERIOD:g} [get_ports clk]",
            "set_input_delay 0 -clock clk [all_inputs]",
            "set_output_delay 0 -clock clk [all_outputs]",
            f"set_false_path -from [get_ports {{{still}}}]",
            "report_checks -path_delay max -format full -digits 3",
        ]
    )


def require() -> None:
    """Raises ToolError if OpenSTA or the library is not there."""
    if shutil.which("sta") is None:
        raise ToolError("OpenSTA (sta) is missing: run `make asic`, or install opensta")
    if not LIBRARY.exists():
        raise ToolError(f"{LIBRARY} is missing: run `make asic`, or install qflow-tech-osu018")


def read_report(said: str) -> Slowest:
    """The slowest path of what OpenSTA prints. Raises ValueError if there is none."""
    ends, slack = dict(ENDS.findall(said)), SLACK.search(said)
    if slack is None or len(ends) != 2:
        raise ValueError("OpenSTA reports no path")
    return Slowest(round(PERIOD - float(slack[1]), 3), ends["Startpoint"], ends["Endpoint"])


def analyze(top: str, ports: Iterable[str], folder: Path, rams: bool) -> Slowest:
    """The slowest path of `netlist.v` in the folder, which keeps script and log.

    Raises RuntimeError with OpenSTA's reason, ValueError if it finds no path.
    """
    (folder / "sta.tcl").write_text(script(top, ports, rams))
    log = folder / "sta.txt"
    command = ["sta", "-no_init", "-no_splash", "-exit", "sta.tcl"]
    with log.open("w") as out:
        done = subprocess.run(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
    said = log.read_text(errors="replace")
    errors = re.findall(r"^Error: .*", said, re.MULTILINE)
    if errors or done.returncode:
        raise RuntimeError(f"sta: {(errors or [f'exit status {done.returncode}'])[0]}; log {log}")
    return read_report(said)
