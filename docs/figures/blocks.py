"""Figures of the RTL's blocks: latency, resources, clocks."""

from __future__ import annotations

import re
import warnings
from statistics import median

from .text import sentence, stored, table

SHAPES = {  # block: what it does; its lanes or shape in `base`
    "requantize": ("accumulators to 8 to 32 bits", "{c.lanes} lanes"),
    "mac_array": (
        "weight-stationary dot products, powers of two as operands or by shifters",
        "{c.rows} x {c.cols}",
    ),
    "layernorm": (
        "PTF LayerNorm: two passes, root and reciprocal pipelined over rows",
        "{c.lanes} lanes, {c.max_channels} channels",
    ),
    "softmax": (
        "attention codes of the modes built, row reciprocals",
        "{c.lanes} lanes, {c.max_tokens} tokens",
    ),
    "gelu": ("table on [-4, 4), linear above", "{c.lanes} lanes, {c.index_width} bits"),
    "residual": ("PTF in, PTF out, one rounding", "{c.lanes} lanes"),
    "attention": (
        "one head after another: Q x K^T, softmax, codes x V",
        "{c.rows} x {c.cols}, {c.max_tokens} tokens of {c.head_dim}",
    ),
}
ROWS = {"layernorm": (192,), "softmax": (197,), "attention": (197, 64)}  # of DeiT-Tiny
SITES = {"luts": "LUTs", "dsps": "multipliers", "brams": "block RAMs"}


def blocks() -> str:
    """Latency and cycles a row."""
    from fqvit_hw.rtl.flow.configs import component, parameters

    rows = []
    for name, (purpose, shape) in SHAPES.items():
        row = ROWS.get(name, ())
        with warnings.catch_warnings():  # a component that is only asked for its latency
            warnings.simplefilter("ignore")
            block = component(name, "base")
            latency = block.latency(*row) if callable(block.latency) else block.latency
            pace = f"{block.cycles_per_row(*row)} cycles a row" if row else "a cycle a beat"
            del block
        shape = shape.format(c=parameters(name, "base"))
        rows.append((f"`{name}`", purpose, shape, latency, pace))
    return table(("block", "what it does", "`base`", "latency, cycles", "takes"), rows)


def resources() -> str:
    found = {(u["block"], u["config"], u["target"]): u for u in stored("synth")}
    kinds = ("luts", "ffs", "dsps", "brams")
    keys = dict.fromkeys((block, c) for block, c, _ in found if block != "accelerator")
    rows = [
        (f"`{b}`", f"`{c}`", *(sites(found[b, c, t], k) for t in ("ecp5", "xc7") for k in kinds))
        for b, c in keys
    ]
    ecp5 = ("ECP5 LUTs", "FFs", "MULT18", "DP16KD")
    xilinx = ("7-series LUTs", "FFs", "DSP48", "RAMB36")
    return table(("block", "configuration", *ecp5, *xilinx), rows)


def before_and_after() -> str:
    """The blocks that attention codes of the row's maximum changed, with `lis4` alone and now."""
    found = [
        {(u["block"], u["config"], u["target"]): u for u in stored(name)}
        for name in ("synth_lis4", "synth")
    ]
    rows = []
    for key, before in found[0].items():
        if key in found[1]:
            now, family = found[1][key], {"ecp5": "ECP5", "xc7": "7-series"}[key[2]]
            kinds = ("luts", "ffs", "dsps", "brams")
            pairs = (
                " / ".join(f"{u[k]:,g}" if k in u else "" for u in (before, now)) for k in kinds
            )
            rows.append((f"`{key[0]}`", f"`{key[1]}`", family, *pairs))
    return table(
        ("block", "configuration", "family", "LUTs", "FFs", "multipliers", "block RAMs"), rows
    )


def sites(usage: dict, kind: str) -> str:
    return "failed" if usage["failure"] else f"{usage[kind]:g}"


def clocks(block: str, config: str) -> dict[int, list[float]]:
    """MHz of the runs that ended, the slowest first, by the chip's speed grade."""
    found: dict[int, list[float]] = {}
    for r in stored("pnr"):
        if (r["block"], r["config"], r["failure"]) == (block, config, None):
            found.setdefault(r["speed"], []).append(r["fmax"])
    return {grade: sorted(found[grade]) for grade in sorted(found)}


def seeds(fmax: list[float]) -> str:
    """The worst of several seeds, and the median; of one its clock."""
    if len(fmax) == 1:
        return f"{fmax[0]:.1f} MHz"
    return f"{fmax[0]:.1f} MHz, the worst of {len(fmax)} seeds (median {median(fmax):.1f})"


def whole_machine() -> str:
    """The accelerator `ecp5_85k` on its chip, before placement and routed."""
    from fqvit_hw.rtl.flow.synth import CHIP

    target = ("accelerator", "ecp5_85k", "ecp5")
    u = next(u for u in stored("synth") if (u["block"], u["config"], u["target"]) == target)
    used = [f"{u[kind]:,} of {CHIP[kind]:,} {name}" for kind, name in SITES.items()]
    mapped = (
        f"Mapped by Yosys (`make synth BLOCK=accelerator CONFIG={u['config']}`), the machine takes",
        f"{used[0]}, {used[1]} and {used[2]} of an ECP5-85k.",
    )
    found = clocks(*target[:2])
    if not found:
        return sentence(*mapped)
    cycles = stored("perf")["deit_tiny"][u["config"]]["cycles"]
    told = [
        f"{seeds(fmax)} on speed grade {grade}: {1e6 * fmax[0] / cycles:.1f} images/s of DeiT-Tiny"
        for grade, fmax in found.items()
    ]
    return sentence(
        *mapped,
        'Placed and routed by nextpnr (`make pnr BLOCK=accelerator ARGS="--seed 1 2 3"`), its',
        "clock is",
        f"{'; '.join(told)}.",
    )


def routed() -> str:
    """A line for each block and speed grade, the fastest first."""
    found: dict[tuple, list[dict]] = {}
    for r in stored("pnr"):
        found.setdefault((r["block"], r["config"], r["speed"]), []).append(r)
    lines = sorted(found.items(), key=lambda line: -max(r["fmax"] for r in line[1]))
    rows = [(f"`{b}`", f"`{c}`", grade, fmax(runs)) for (b, c, grade), runs in lines]
    return table(("block", "configuration", "speed grade", "Fmax, or why there is none"), rows)


def fmax(runs: list[dict]) -> str:
    ended = sorted(r["fmax"] for r in runs if not r["failure"])
    reasons = [re.sub(r"; log [^;]*", "", r["failure"]) for r in runs if r["failure"]]
    return "; ".join([*([seeds(ended)] if ended else []), *reasons])
