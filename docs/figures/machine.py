"""Figures of the accelerator: sizes, cycles, a program."""

from __future__ import annotations

import re

from .text import MODELS, sentence, stored, table

CONDITIONS = {  # of the runs, in the order of the table
    "base": "`base`",
    "base_latency20": "`base`, memory of 20 cycles",
    "base_latency200": "`base`, memory of 200 cycles",
    "base_bus64": "`base`, bus of 64 bits",
    "ecp5_85k": "`ecp5_85k`",
    "ultrascale": "`ultrascale`",
    "tiny": "`tiny`",
    "large": "`large`",
}
CLOCK = 100  # MHz, assumed
BUSY = "useful MACs of possible ones"


def machines() -> str:
    from fqvit_hw.machine.hardware import HARDWARE

    rows = []
    for name, hw in HARDWARE.items():
        sizes = (hw.lanes, hw.norm_lanes, hw.multipliers, hw.bus)
        memory = f"{hw.memory_bytes / 1024:.0f} KiB"
        rows.append((f"`{name}`", f"{hw.rows} x {hw.cols}", *sizes, memory))
    sizes = ("array R x C", "epilogue lanes E", "LayerNorm lanes L", "multipliers", "bus, bits")
    return table(("configuration", *sizes, "on-chip memory"), rows)


def measured(network: str, config: str, r: dict) -> dict[str, str]:
    """One run of `make perf`, by column."""
    if r["clock_mhz"] != CLOCK:
        raise ValueError(f"perf.json: {network} on {config} is not at {CLOCK} MHz: say so")
    rate, deviation = r["images_per_s"], f"{r['model_error']:+.2%}"
    return {
        "network": MODELS[network],
        "configuration": CONDITIONS[config],
        "cycles an image": f"{r['cycles']:,}",
        BUSY: f"{r['utilization']:.2%}",
        "MB read": f"{r['bytes_read'] / 1e6:.2f}",
        f"images/s at {CLOCK} MHz": f"{rate:.2f}" if rate < 100 else f"{rate:.0f}",
        "cycle model's deviation": deviation.lstrip("+-") if "0.00%" in deviation else deviation,
    }


def performance() -> str:
    """Every run: `make perf` writes them in the order in which they were done."""
    rows = [
        measured(network, config, runs[config])
        for network, runs in sorted(
            stored("perf").items(), key=lambda run: list(MODELS).index(run[0])
        )
        for config in sorted(runs, key=list(CONDITIONS).index)
    ]
    return table(rows[0], (row.values() for row in rows))


def deit_tiny() -> str:
    """DeiT-Tiny on the named configurations."""
    from fqvit_hw.machine.hardware import HARDWARE

    runs = stored("perf")["deit_tiny"]
    rows = [measured("deit_tiny", name, runs[name]) for name in HARDWARE]
    columns = ("configuration", "cycles an image", BUSY, f"images/s at {CLOCK} MHz")
    return table(columns, ([row[column] for column in columns] for row in rows))


def waits() -> str:
    r = stored("perf")["deit_tiny"]["base"]
    stalled = r["stalled"]
    if any(stalled[name] for name in ("softmax", "epilogue")):
        raise ValueError("perf.json: the array waits for more: the sentence is wrong")
    return sentence(
        "DeiT-Tiny on `base` keeps everything on chip and reads its weights once. Of",
        f"{r['cycles']:,} cycles the array waits {stalled['activations']:,} for the first patches,",
        f"{stalled['weights']:,} for the weights of the head, and has nothing to do for",
        f"{stalled['idle']:,} at both ends; in the encoder blocks it waits",
        f"{stalled['layernorm']:,} for LayerNorms, of four lanes, and for nothing else.",
    )


def vit_base() -> str:
    r = next(r for r in stored("sim_net") if r["network"] == "vit_base")
    return sentence(
        f"ViT-Base on `{r['config']}` (`make sim-deit MODEL=vit_base`): {r['cycles']:,} cycles,",
        "logits equal.",
    )


def program() -> str:
    """Block 1 of the digits network on `base`, without what says little about the machine."""
    from fqvit_hw import QuantizedModel
    from fqvit_hw.compiler import compile_network
    from fqvit_hw.compiler.listing import listing
    from fqvit_hw.data.digits import NETWORK_FILE
    from fqvit_hw.machine.hardware import hardware

    network = QuantizedModel.load(NETWORK_FILE).network
    lines = listing(compile_network(network, hardware("base"))).splitlines()
    common = r"rows|row_group|k_groups"
    constants = r"\w*multiplier|(?!bit)\w*shift|\w*zero\w*|scalar|eps"
    hidden = re.compile(rf" ({common}|{constants})=-?\d+")
    wanted = re.compile(r" *\d+ +(GEMM|NORM) +blocks\.1\.(?!.*head [1-9])")
    shown = [hidden.sub("", line).rstrip() for line in lines if wanted.match(line)]
    return "\n".join(("```", *shown, "```"))
