"""Every table and sentence of figures in README.md and docs/: a function each, Markdown by name.

Measured figures come from docs/results/*.json, which hold what the commands wrote; figures of the
sources themselves (sizes, latencies, numbers of cases) are asked of the sources.
"""

from collections.abc import Callable

from . import accuracy, blocks, checks, chip, dsps, machine, speed
from .text import ROOT

__all__ = ["FIGURES", "ROOT"]

MAKERS: tuple[Callable[[], str], ...] = (
    *(accuracy.accuracy, accuracy.digits, accuracy.ablation, accuracy.ingredients),
    accuracy.frontier,
    *(accuracy.features, speed.speed, speed.shares, speed.calibration_time),
    *(machine.machines, machine.performance, machine.deit_tiny, machine.waits, machine.vit_base),
    *(machine.program, blocks.blocks, blocks.resources, blocks.before_and_after),
    *(blocks.whole_machine, blocks.routed, dsps.ultrascale),
    *(chip.chips, chip.macros, chip.bitshift, chip.energy),
    *(checks.benches, checks.networks, checks.mutants, checks.golden, checks.results),
)
FIGURES = {make.__name__: make for make in MAKERS}
