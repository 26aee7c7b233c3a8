"""Figures of the standard-cell library: area, clock, memories, before layout."""

from __future__ import annotations

from .text import sentence, stored, table

NOT_SIMULATED = ("attention",)


def chips() -> str:
    """Area and clock of every block."""
    head = ("block", "configuration", "cells, mm2", "NAND2s", "flip-flops", "MHz", "memories, bits")
    return table(head, map(chip, stored("asic")))


def chip(c: dict) -> tuple[str, ...]:
    remark = ", not simulated" if c["block"] in NOT_SIMULATED else ""
    name = (f"`{c['block']}`{remark}", f"`{c['config']}`")
    if c["failure"]:
        return (*name, c["failure"], "", "", "", "")
    counts = (f"{c[kind]:,}" for kind in ("nand2", "ffs"))
    return (*name, f"{c['area'] / 1e6:.3f}", *counts, f"{c['mhz']:.0f}", f"{c['memory_bits']:,}")


def macros() -> str:
    """The memories that are not in the area, by block and shape."""
    rows = [
        (
            *(f"`{c['block']}`", f"`{c['config']}`"),
            "; ".join(map(memories, c["memories"])),
        )
        for c in stored("asic")
        if c["memories"]
    ]
    return table(("block", "configuration", "memories, words x bits"), rows)


def memories(m: dict) -> str:
    text = f"{m['count']} of {m['words']:,} x {m['width']}"
    return text if m["reads"] == 1 else f"{text} ({m['reads']} ports that read)"


def bitshift() -> str:
    """Ways of an array to compute products and BitShift, against products alone."""
    rows, base = [], {}
    for c in stored("asic_bitshift"):
        config, _, way = c["config"].partition(" ")
        base.setdefault(config, c["nand2"])
        against = f"{c['nand2'] / base[config] - 1:+.0%}"
        figures = (f"{c['nand2']:,}", against, f"{c['ffs']:,}", f"{c['mhz']:.0f}")
        rows.append((f"`{config}`", way, *figures))
    head = ("`mac_array`", "built", "NAND2s", "against products alone", "flip-flops", "MHz")
    return table(head, rows)


def energy() -> str:
    """Of one image on the mapped accelerator."""
    (e,) = stored("energy")
    parts = {name: e[name] / 1000 for name in ("clock", "cells", "nets")}  # uJ
    total = sum(parts.values())
    return sentence(
        f"An image of the {e['network']} on `{e['config']}` takes {total:,.0f} uJ:",
        f"{parts['clock']:,.0f} at the clock pins of flip-flops, {parts['cells']:,.0f} in cells,",
        f"{parts['nets']:,.0f} on the inputs that nets drive; {1e6 * total / e['macs']:,.0f} pJ a",
        f"useful MAC, over {e['cycles']:,} cycles, all logits equal to the model's.",
    )
