"""Every model on arrays of every shape: cycles, utilization and traffic by the cycle model.

The instructions come from the compiler (Swin's from `compiler.swin`, for the compiler refuses it),
the cycles from the cycle model; no weights are needed. All blocks of a ViT but the first and the
last are the same, so the programs of DEPTHS blocks are timed and their difference is added for
every further block.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache

from ..errors import UserError
from ..machine.gemm import gemms
from ..machine.hardware import BASE, ECP5_85K, LARGE, TINY, Hardware
from ..network.swin import MERGED
from ..paper_models import PAPER_MODELS, Family, SwinSize, VitSize

LATENCY = 100  # cycles from a read to its first beat

DEPTHS = (2, 3)

BASE_SHAPE = "16x16"

MOST_TILES = 10_000_000  # of weights that a timed program may stream; about 10 us each


# The named machines, and those between and beyond them: 8x8 has the memory bytes of the 8x16, 16x32
# about twice those of the 16x16 and 64x64 of the 32x32.
SHAPES = (
    replace(TINY, name="4x4"),
    replace(ECP5_85K, name="8x8", cols=8, stream=6144, tiles=1024, ring=512, sums=512),
    replace(ECP5_85K, name="8x16"),
    replace(BASE, name=BASE_SHAPE),
    replace(BASE, name="16x32", cols=32, lanes=8, acts=24576, codes=8192),
    replace(LARGE, name="32x32"),
    replace(LARGE, name="64x64", rows=64, cols=64, lanes=32, norm_lanes=64, tiles=128, ring=64),
)

SAME = {"4x4": "tiny", "8x16": "ecp5_85k", "16x16": "base", "32x32": "large"}

# `base` with more and fewer LayerNorm lanes, which hold four multipliers each
LANES = tuple(replace(BASE, name=f"16x16, {n} lanes", norm_lanes=n) for n in (2, 4, 8, 16))
LANE_MODELS = ("deit_tiny", "deit_small", "swin_tiny")

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
        return next(hw for hw in (*SHAPES, *LANES) if hw.name == self.shape)

    @property
    def model_only(self) -> bool:
        """No compiler and no RTL stand behind it."""
        return PAPER_MODELS[self.model].family is Family.SWIN

    @property
    def utilization(self) -> float:
        """Useful MACs a cycle, of those that the array could do."""
        return self.macs / (self.cycles * self.hardware.tile_bytes)

    @property
    def operations(self) -> float:
        """Useful operations, two a MAC, a cycle and multiplier; 2 is the most."""
        return 2 * self.macs / (self.cycles * self.hardware.multipliers)


def timed(instructions, hw: Hardware) -> dict[str, int]:
    """The cycle model's counters. Raises ValueError for what would take too long."""
    from ..cycles import predict

    tiles = sum(gemm.weight_tiles for gemm in gemms(instructions, hw))
    if tiles > MOST_TILES:
        raise UserError(f"{tiles / 1e6:.1f} million weight tiles are too many to model in minutes")
    prediction = predict(instructions, hw, latency=LATENCY)
    return {name: int(getattr(prediction, name)) for name in COUNTERS}


def vit(size: VitSize, hw: Hardware) -> dict[str, int]:
    """Counters of a ViT, from those of shallower ones with the same plan."""
    from ..compiler import compile_shape
    from ..compiler.vit.plan import plan
    from ..compiler.vit.shape import Shape

    shape = Shape.of_size(size)
    chosen = plan(shape, hw)
    more, few = (  # the deeper one first: it may be too much
        timed(compile_shape(replace(shape, depth=depth), hw, chosen).instructions, hw)
        for depth in reversed(DEPTHS)
    )
    blocks = size.depth - DEPTHS[0]
    counters = {name: few[name] + blocks * (more[name] - few[name]) for name in COUNTERS}
    return counters | {"macs": shape.macs}


def swin(size: SwinSize, hw: Hardware) -> dict[str, int]:
    """Counters of a Swin, whose patch merging has longer LayerNorm rows than a named machine."""
    from ..compiler.swin import schedule_swin

    widest = max(hw.max_channels, MERGED * size.stages[-2][1])
    wide = replace(hw, max_channels=widest)
    return timed(schedule_swin(size, wide).instructions, wide) | {"macs": size.macs}


@cache
def counters(size: VitSize | SwinSize, hw: Hardware) -> dict[str, int] | str:
    """Of a network size; or why there are none."""
    try:
        return swin(size, hw) if isinstance(size, SwinSize) else vit(size, hw)
    except UserError as error:
        return str(error)


def sizes() -> dict[str, VitSize | SwinSize]:
    return {name: model.size for name, model in PAPER_MODELS.items()}


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


def as_json(points: list[Point]) -> str:
    tree = [
        asdict(p)
        | {"multipliers": p.hardware.multipliers, "model_only": p.model_only}
        | ({} if p.refused else {"utilization": p.utilization, "operations": p.operations})
        for p in points
    ]
    return json.dumps({"latency": LATENCY, "points": tree}, indent=1) + "\n"
