"""`fqvit-hw sweep`: array shape against cycles, traffic and multipliers, for all eight models.

The instructions come from the compiler (Swin's from `swin_schedule`, for the compiler refuses it),
the cycles from the cycle model; no weights are needed. All blocks of a ViT but the first and the
last are the same, so the programs of DEPTHS blocks are timed and their difference is added for
every further block.
"""

from __future__ import annotations

import importlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from .hardware import BASE, ECP5_85K, LARGE, TINY, Hardware
from .isa import Opcode
from .outputs import check_file, write_file

LATENCY = 100  # cycles from a read to its first beat
DEPTHS = (2, 3)
MOST_TILES = 10_000_000  # of weights that a timed program may stream; about 10 us each

# The named machines, and those between and beyond them: 8x8 has the memory bytes of the 8x16, 16x32
# about twice those of the 16x16 and 64x64 of the 32x32.
SHAPES = (
    replace(TINY, name="4x4"),
    replace(ECP5_85K, name="8x8", cols=8, stream=6144, tiles=1024, ring=512, sums=512),
    replace(ECP5_85K, name="8x16"),
    replace(BASE, name="16x16"),
    replace(BASE, name="16x32", cols=32, lanes=8, acts=24576, codes=8192),
    replace(LARGE, name="32x32"),
    replace(LARGE, name="64x64", rows=64, cols=64, lanes=32, norm_lanes=64, tiles=128, ring=64),
)
SAME = {"4x4": "tiny", "8x16": "ecp5_85k", "16x16": "base", "32x32": "large"}
MODELS = {
    "deit_tiny": "DeiT-T", "deit_small": "DeiT-S", "deit_base": "DeiT-B", "vit_base": "ViT-B",
    "vit_large": "ViT-L", "swin_tiny": "Swin-T", "swin_small": "Swin-S", "swin_base": "Swin-B",
}  # fmt: skip
MODEL_ONLY = "model only"
COUNTERS = ("cycles", "busy", "bytes_read", "bytes_written", "bytes_weights")


@dataclass(frozen=True)
class Point:
    """One model on one shape. refused: why there are no numbers, or ""."""

    model: str
    shape: str
    macs: int = 0
    cycles: int = 0
    busy: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    bytes_weights: int = 0
    refused: str = ""

    @property
    def hardware(self) -> Hardware:
        return next(hw for hw in SHAPES if hw.name == self.shape)

    @property
    def model_only(self) -> bool:
        """No compiler and no RTL stand behind it."""
        return self.model.startswith("swin")

    @property
    def utilization(self) -> float:
        """Useful MACs a cycle, of those that the array could do."""
        return self.macs / (self.cycles * self.hardware.tile_bytes)


def timed(instructions, hw: Hardware) -> dict[str, int]:
    """The cycle model's counters. Raises ValueError for what would take too long."""
    from .cycles import predict

    gemms = [i for i in instructions if i.opcode is Opcode.GEMM and not i.resident]
    tiles = sum(i.outer * i.k_groups * i.k_tiles for i in gemms)
    if tiles > MOST_TILES:
        raise ValueError(f"{tiles / 1e6:.1f} million weight tiles are too many to model in minutes")
    prediction = predict(instructions, hw, latency=LATENCY)
    return {name: int(getattr(prediction, name)) for name in COUNTERS}


def vit(size, hw: Hardware) -> dict[str, int]:
    """Counters of a ViT, from those of shallower ones with the same plan."""
    from .compiler import compile_network
    from .compiler.plan import Shape, plan
    from .compiler.shapes import blank

    shape = Shape.of(blank(size))
    chosen = plan(shape, hw)
    more, few = (  # the deeper one first: it may be too much
        timed(
            compile_network(blank(replace(size, depth=depth)), hw, False, chosen).instructions, hw
        )
        for depth in reversed(DEPTHS)
    )
    blocks = size.depth - DEPTHS[0]
    counters = {name: few[name] + blocks * (more[name] - few[name]) for name in COUNTERS}
    return counters | {"macs": shape.macs}


def swin(size, hw: Hardware) -> dict[str, int]:
    """Counters of a Swin, whose patch merging has longer LayerNorm rows than a named machine."""
    from .swin_schedule import MERGED, SwinSchedule

    widest = max(hw.max_channels, MERGED * size.stages[-2][1])
    wide = replace(hw, max_channels=widest)
    return timed(SwinSchedule(size, wide).instructions, wide) | {"macs": size.macs}


@cache
def counters(size, hw: Hardware) -> dict[str, int] | str:
    """Of a network size; or why there are none."""
    from .swin_schedule import SwinSize

    try:
        return swin(size, hw) if isinstance(size, SwinSize) else vit(size, hw)
    except ValueError as error:
        return str(error)


def sizes() -> dict:
    from .compiler.shapes import VIT
    from .swin_schedule import SWIN

    return {**VIT, **SWIN}


def sweep(models, shapes=SHAPES, jobs: int = 1, told=print) -> list[Point]:
    """Every model on every shape, model by model; told: takes a line for each that is done."""
    wanted = [(name, hw) for name in models for hw in shapes]
    keys = list(dict.fromkeys((sizes()[name], hw) for name, hw in wanted))  # DeiT-B is ViT-B
    found = {}
    with ProcessPoolExecutor(jobs) as pool:
        for key, result in zip(keys, pool.map(counters, *zip(*keys, strict=True)), strict=True):
            found[key] = result
    points = []
    for name, hw in wanted:
        result = found[sizes()[name], hw]
        if isinstance(result, str):
            told(f"{name} on {hw.name} is left out: {result}")
            points.append(Point(name, hw.name, refused=result))
        else:
            points.append(Point(name, hw.name, **result))
    return points


# --- what it looks like


INTRODUCTION = f"""\
# Array shape against cycles, traffic and multipliers

Made by `fqvit-hw sweep --markdown docs/sweep.md --png docs/sweep.png`: one image at a time, a
memory that answers after {LATENCY} cycles, by the model `fqvit_hw/cycles`. ViT and DeiT:
the compiler's own programs, two and three blocks of them timed and their difference added for
each further block. Swin's rows come from the model alone ("{MODEL_ONLY}"): neither compiler nor RTL
run it; its instructions are those of `fqvit_hw/swin_schedule.py`, which says what it leaves out.

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
    return MODELS[name] + (f" ({MODEL_ONLY})" if name.startswith("swin") else "")


def line(cells) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(head, lines) -> list[str]:
    return [line(head), line(["---"] + ["---:"] * (len(head) - 1)), *map(line, lines)]


def markdown(points: list[Point]) -> str:
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
        "## Megabytes read and written an image",
        "",
        *grid(lambda p: f"{number(p.bytes_read / 1e6)} + {number(p.bytes_written / 1e6)}"),
    ]  # fmt: skip
    refused = [p for p in points if p.refused]
    if refused:
        parts += ["", "Left out:", ""]
        parts += [f"- {MODELS[p.model]} on {p.shape}: {p.refused}" for p in refused]
    return "\n".join(parts) + "\n"


def picture(points: list[Point]) -> bytes:
    """Cycles, utilization and traffic over multipliers, a line a model; Swin's are dashed."""
    from .report.pictures import panels, png

    figure, axes = panels(3, 4.6, columns=3)
    panes = (
        ("million cycles an image", lambda p: p.cycles / 1e6, "log"),
        ("utilization of the array, %", lambda p: 100 * p.utilization, "linear"),
        ("MB read and written an image", lambda p: (p.bytes_read + p.bytes_written) / 1e6, "log"),
    )
    models = [name for name in dict.fromkeys(p.model for p in points) if name != "vit_base"]
    for axis, (label, value, scale) in zip(axes, panes, strict=True):
        for n, name in enumerate(models):
            mine = [p for p in points if p.model == name and not p.refused]
            text = "DeiT-B, ViT-B" if name == "deit_base" else title(name)
            axis.plot(
                [p.hardware.multipliers for p in mine], [value(p) for p in mine], marker="o",
                markersize=4, linewidth=1.5, color=f"C{n}", label=text,
                linestyle="--" if name.startswith("swin") else "-",
            )  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.set_yscale(scale)
        axis.set_title(label, fontsize=10)
        axis.set_xlabel("multipliers")
        shapes = [hw for hw in SHAPES if any(p.shape == hw.name for p in points)]
        ticks = [f"{hw.multipliers}\n{hw.rows}x{hw.cols}" for hw in shapes]
        axis.set_xticks([hw.multipliers for hw in shapes], ticks, fontsize=6)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[1].set_ylim(0, 100)
    axes[0].legend(fontsize=7, frameon=False)
    return png(figure)


def as_json(points: list[Point]) -> str:
    tree = [
        asdict(p)
        | {"multipliers": p.hardware.multipliers, "model_only": p.model_only}
        | ({} if p.refused else {"utilization": p.utilization})
        for p in points
    ]
    return json.dumps({"latency": LATENCY, "points": tree}, indent=1) + "\n"


# --- the command


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "sweep", help="array shape against cycles, traffic and multipliers, from the cycle model"
    )
    names = [hw.name for hw in SHAPES]
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME",
                        help=f"{', '.join(MODELS)} (default: all)")  # fmt: skip
    parser.add_argument("--shapes", nargs="+", choices=names, default=names, metavar="RxC",
                        help=f"{', '.join(names)} (default: all)")  # fmt: skip
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables (else: printed)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers")
    parser.add_argument("--png", type=Path, metavar="FILE", help="the picture (needs matplotlib)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="processes (default: one a core)")  # fmt: skip
    parser.set_defaults(run=run)


def run(args) -> None:
    if args.jobs < 1:
        raise ValueError(f"--jobs: expected at least 1, got {args.jobs}")
    for path in (args.markdown, args.json, args.png):  # before the work
        if path:
            check_file(path)
    if args.png:
        importlib.import_module("matplotlib")
    shapes = tuple(hw for hw in SHAPES if hw.name in args.shapes)
    points = sweep(list(dict.fromkeys(args.models)), shapes, args.jobs)
    for path, make in (
        (args.markdown, lambda: markdown(points).encode()),
        (args.json, lambda: as_json(points).encode()),
        (args.png, lambda: picture(points)),
    ):
        if path:
            write_file(path, make())
            print(path)
    if not args.markdown:
        print(markdown(points), end="")
