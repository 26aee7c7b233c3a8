"""A clock's period before placement: `make timing`, `python -m fqvit_hw.rtl.flow.timing`.

A block in its harness is mapped as for `rtl.flow.pnr` (`rtl.flow.mapped`); what nextpnr would add
up is added up with estimated wires, in seconds instead of minutes (`rtl.flow.paths`). The slowest
path to each register is one line: its ns, from where, to where, how many of the register's
endpoints are over the budget, the kinds of cells in between.

Against 9,632 endpoints of four routed blocks (requantize and mac_array of tiny, softmax and
layernorm of ecp5_85k): routed is 1.05 to 1.16 times the estimate in the median of a block, 1.20 to
1.36 times for its slowest path, whose wires are the long ones.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fqvit_hw.command_line import Parser, program
from fqvit_hw.places import BUILD

from .configs import BLOCKS, CONFIGS, component, select
from .estimate import BUDGET, Estimate, describe, measure
from .history import record
from .mapped import netlist
from .pin_harness import Harness
from .tools import WORKERS, run_all, save
from .verilog import convert

OUT = BUILD / "timing"
DEFAULT = "ecp5_85k"
TOP = "harness"
LINES = 20


def mapped(block: str, config: str, folder: Path) -> dict:
    """The netlist of a block in its harness, as `pnr` places it."""
    text = convert(Harness(component(block, config)), TOP)
    return netlist(block, text, TOP, folder)[0]


def time_block(block: str, config: str, budget: float = BUDGET, build: Path = OUT) -> Estimate:
    """Map a block and estimate its period; the folder keeps source, netlist and log."""
    estimate, start = Estimate(block, config), time.monotonic()
    try:
        found = mapped(block, config, build / config / block)
        measure(found["modules"][TOP], estimate, budget)
    except (RuntimeError, ValueError) as error:
        estimate.failure = str(error)
    estimate.seconds = round(time.monotonic() - start, 1)
    return estimate


def report(estimate: Estimate, budget: float, lines: int = LINES) -> str:
    """The result as text: a line for the block, a line for each of its slowest registers."""
    e = estimate
    if e.failure:
        return f"{e.block} {e.config}: {e.failure}"
    head = f"{e.block} {e.config}: {e.luts} LUTs, {e.ffs} FFs, "
    if not e.endpoints:
        return f"{head}no path from register to register"
    head += f"{e.ns:.2f} ns, {e.fmax:.1f} MHz; over {budget:g} ns: {e.over} of {e.endpoints}"
    return "\n".join([head, *map(describe, e.groups[:lines])])


@program("timing")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m fqvit_hw.rtl.flow.timing", description=__doc__)
    parser.add_argument("--config", help=f"one of {', '.join(CONFIGS)}; default: {DEFAULT}")
    parser.add_argument("--block", help=f"one of {', '.join(BLOCKS)}; default: all of them")
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="NS", help=f"{BUDGET} ns")
    parser.add_argument("--lines", type=int, default=LINES, help=f"registers shown: {LINES}")
    parser.add_argument("--paths", action="store_true", help="the nets along each path, too")
    parser.add_argument("--history", type=Path, metavar="FILE", help="add the results to this file")
    parser.add_argument("--json", type=Path, default=BUILD / "timing.json", metavar="FILE")
    options = parser.parse_args(arguments)
    jobs = [(b, c, options.budget) for b, c in select(options.config, options.block, (DEFAULT,))]
    estimates = run_all(time_block, jobs, WORKERS, lambda e: report(e, options.budget, 0))
    for e in estimates:
        print(f"\n{report(e, options.budget, options.lines)}")
        if options.paths:
            for group in e.groups[: options.lines]:
                print(f"{group.end}:\n  " + "\n  ".join(group.nets))
    save(estimates, options.json)
    if options.history:
        record(estimates, options.history)
        print(f"written: {options.history}")
    return 1 if any(e.failure for e in estimates) else 0


if __name__ == "__main__":
    sys.exit(main())
