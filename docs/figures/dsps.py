"""Figures of `ultrascale`: what it takes, and what a DSP cell of it does in a cycle."""

from __future__ import annotations

from .text import sentence, stored

CONFIG = "ultrascale"
# GOPS a DSP and MHz: the highest published figures of such accelerators that can be recomputed
PUBLISHED = ((0.60, 300), (0.76, 150))


def ultrascale() -> str:
    """Cells by Yosys, cycles by the hardware's counters, the clocks that others' figures ask."""
    target = ("accelerator", CONFIG, "xcup")
    u = next(u for u in stored("synth") if (u["block"], u["config"], u["target"]) == target)
    run = stored("perf")["deit_tiny"][CONFIG]
    each = 2 * run["macs"] / run["cycles"] / u["dsps"]  # useful operations a cycle and DSP
    others = " and ".join(f"{gops:.2f} at {mhz} MHz" for gops, mhz in PUBLISHED)
    cycles = " and ".join(f"{1e3 * gops / mhz:.1f}" for gops, mhz in PUBLISHED)
    equal = " and ".join(f"{1e3 * gops / each:.0f} MHz" for gops, _ in PUBLISHED)
    return sentence(
        f"Mapped by Yosys (`make synth BLOCK=accelerator CONFIG={CONFIG}`), the whole machine",
        f"takes {u['dsps']:g} DSP48E2, {u['luts']:,} LUTs, {u['ffs']:,} flip-flops and",
        f"{u['brams']:g} block RAMs of 36 Kbit. DeiT-Tiny takes {run['cycles']:,} cycles",
        f"(`make perf`): {each:.2f} useful operations, two a MAC, a cycle and DSP cell. The",
        f"highest published figures that can be recomputed are {others}, in GOPS a DSP",
        f"({cycles} operations a cycle and DSP); it would equal them at {equal}. It has not",
        "been placed, so that its own clock is not known.",
    )
