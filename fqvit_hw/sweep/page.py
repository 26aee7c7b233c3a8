"""The points of a sweep as docs/sweep.md."""

from __future__ import annotations

from ..machine.hardware import BASE
from ..paper_models import PAPER_MODELS, Family
from .points import LATENCY, MODEL_ONLY, SAME, SHAPES, Point

INTRODUCTION = f"""\
# Array shape against cycles, traffic and multipliers

Made by `fqvit-hw sweep --markdown docs/sweep.md --png docs/sweep.png`: one image at a time, a
memory that answers after {LATENCY} cycles, by the model `fqvit_hw/cycles`. ViT and DeiT:
the compiler's own programs, two and three blocks of them timed and their difference added for
each further block. Swin's rows come from the model alone ("{MODEL_ONLY}"): neither compiler nor RTL
run it; its instructions are those of `fqvit_hw/compiler/swin/`, which says what it leaves out.

![Cycles, utilization and traffic over multipliers](sweep.png)

## Machines

Multipliers: products that a cycle can make, of the array, the epilogue and the LayerNorm
(`Hardware.multipliers`). 8 x 8 has the memory bytes of `ecp5_85k`, 16 x 32 about twice those of
`base`, 64 x 64 about twice those of `large`. For Swin each has LayerNorm rows as long as its patch
merging needs.

One image at a time, 64 x 64 waits for its weights: a tile of 4096 bytes takes 256 cycles of a
128-bit bus and is used for the 197 tokens of a ViT in 197.

"""


def number(value: float) -> str:
    """Three digits at least."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def title(name: str) -> str:
    model = PAPER_MODELS[name]
    return model.title + (f" ({MODEL_ONLY})" if model.family is Family.SWIN else "")


def line(cells) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(head, lines) -> list[str]:
    return [line(head), line(["---"] + ["---:"] * (len(head) - 1)), *map(line, lines)]


def lanes_table(points: list[Point]) -> list[str]:
    """Utilization and useful operations of each number of LayerNorm lanes."""
    models = list(dict.fromkeys(p.model for p in points))
    at = {(p.model, p.shape): p for p in points}
    machines = list(dict.fromkeys(p.hardware for p in points))
    rows = [
        [hw.norm_lanes, hw.multipliers]
        + [
            f"{100 * at[name, hw.name].utilization:.1f} %, {at[name, hw.name].operations:.2f}"
            for name in models
        ]
        for hw in machines
    ]
    return [
        "## LayerNorm lanes of `base`",
        "",
        f"Utilization of the array, and useful operations (two a MAC) a cycle and multiplier, all "
        f"multipliers counted; 2 is the most. `base` has {BASE.norm_lanes} lanes.",
        "",
        *table(["LayerNorm lanes", "multipliers", *map(title, models)], rows),
        "",
    ]


def markdown(points: list[Point], lanes: list[Point]) -> str:
    """points: of every shape; lanes: of `base` with more and fewer LayerNorm lanes, or none."""
    shapes = [hw for hw in SHAPES if any(p.shape == hw.name for p in points)]
    models = list(dict.fromkeys(p.model for p in points))
    at = {(p.model, p.shape): p for p in points}

    def grid(what) -> list[str]:
        rows = [
            [title(name)]
            + ["–" if at[name, hw.name].refused else what(at[name, hw.name]) for hw in shapes]
            for name in models
        ]
        return table(["", *(f"{hw.rows} x {hw.cols}" for hw in shapes)], rows)

    parts = [
        *INTRODUCTION.splitlines(),
        *table(
            ["array", "name", "multipliers", "epilogue lanes", "LayerNorm lanes", "bus bits",
             "memory KiB"],
            [
                [f"{hw.rows} x {hw.cols}", SAME.get(hw.name, ""), hw.multipliers, hw.lanes,
                 hw.norm_lanes, hw.bus, round(hw.memory_bytes / 1024)]
                for hw in shapes
            ],
        ),
        "",
        "## Million cycles an image",
        "",
        *grid(lambda p: number(p.cycles / 1e6)),
        "",
        "## Utilization of the array",
        "",
        "The network's own MACs of those that the array could have made in these cycles.",
        "",
        *grid(lambda p: f"{100 * p.utilization:.1f} %"),
        "",
        *(lanes_table(lanes) if lanes else []),
        "## Megabytes read and written an image",
        "",
        *grid(lambda p: f"{number(p.bytes_read / 1e6)} + {number(p.bytes_written / 1e6)}"),
    ]  # fmt: skip
    refused = [p for p in points if p.refused]
    if refused:
        parts += ["", "Left out:", ""]
        parts += [f"- {PAPER_MODELS[p.model].title} on {p.shape}: {p.refused}" for p in refused]
    return "\n".join(parts) + "\n"
