"""The estimate of a mapped netlist's clock as people and files hold it: `rtl.flow.paths`, in ns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .paths import Paths
from .synth import count

BUDGET = 7.5  # ns: 100 MHz when routed


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
