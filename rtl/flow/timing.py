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
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fqvit_hw.command_line import Parser, program
from fqvit_hw.places import BUILD

from .configs import BLOCKS, CONFIGS, component, select
from .mapped import netlist
from .paths import Paths
from .pin_harness import Harness
from .synth import count
from .tools import WORKERS, run_all, save
from .verilog import convert

OUT = BUILD / "timing"
DEFAULT = "ecp5_85k"
BUDGET = 7.5  # ns: 100 MHz when routed
TOP = "harness"
LINES = 20


@dataclass
class Group:
    """The endpoints of one register, the slowest first: what people read."""

    ns: float
    start: str
    end: str
    cells: dict[str, int]
    over: int  # endpoints over the budget
    nets: list[str]  # along the slowest path


@dataclass
class Estimate:
    """One block; failure: None, or the reason."""

    block: str
    config: str
    ns: float = 0.0
    fmax: float = 0.0  # MHz
    over: int = 0  # endpoints over the budget
    endpoints: int = 0
    luts: int = 0
    ffs: int = 0
    dsps: float = 0
    brams: float = 0
    seconds: float = 0.0
    groups: list[Group] = field(default_factory=list)
    failure: str | None = None


def grouped(paths: Paths, budget: float = BUDGET) -> list[Group]:
    """The endpoints by register, in the order of the slowest of each."""
    groups: dict[str, Group] = {}
    for endpoint in paths.endpoints():
        end = paths.register(endpoint.at)
        if end not in groups:
            points = list(paths.path(endpoint))
            kinds = Counter(paths.cells[point.cell]["type"] for point in points[1:])
            passed = [paths.name(point.bit) for point in reversed(points)]
            start = paths.start(points[-1].bit)
            groups[end] = Group(endpoint.ps / 1000, start, end, dict(kinds), 0, passed)
        groups[end].over += endpoint.ps > 1000 * budget
    return list(groups.values())


def describe(group: Group) -> str:
    """One line of the report."""
    cells = " ".join(f"{kind} x{n}" for kind, n in group.cells.items()) or "a wire"
    return f"{group.ns:6.2f} ns  {group.start} -> {group.end} (over: {group.over}): {cells}"


def mapped(block: str, config: str, folder: Path) -> dict:
    """The netlist of a block in its harness, as `pnr` places it."""
    text = convert(Harness(component(block, config)), TOP)
    return netlist(block, text, TOP, folder)[0]


def measure(module: dict, estimate: Estimate, budget: float = BUDGET) -> None:
    """Fill in what a mapped module has. Raises ValueError as `Paths` and `synth.count` do."""
    paths = Paths(module)
    kinds = Counter(cell["type"] for cell in paths.cells.values())
    for kind, sites in count("ecp5", kinds).items():
        setattr(estimate, kind, sites)
    ends = paths.endpoints()
    estimate.endpoints = len(ends)
    estimate.over = sum(end.ps > 1000 * budget for end in ends)
    if ends:
        estimate.ns = ends[0].ps / 1000
        estimate.fmax = round(1e6 / ends[0].ps, 1)
    estimate.groups = grouped(paths, budget)


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
    return 1 if any(e.failure for e in estimates) else 0


if __name__ == "__main__":
    sys.exit(main())
