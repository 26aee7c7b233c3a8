"""Results over commits, to be plotted: `make timing HISTORY=FILE` adds a line for each block.

    {"commit": "1a2b3c4d5e6f", "block": "softmax", "config": "ecp5_85k", "ns": ..., "fmax": ...,
     "over": ..., "luts": ..., "ffs": ..., "dsps": ..., "brams": ..., "cycles": ...}

A commit's earlier line for the same block is replaced; changes that are in no commit make it end in
"+". cycles: what the cycle model says of an image of DeiT-Tiny, for the accelerator where it holds
that network; else null.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from fqvit_hw.compiler import compile_shape
from fqvit_hw.compiler.vit.shape import Shape
from fqvit_hw.cycles import predict
from fqvit_hw.errors import UserError
from fqvit_hw.machine.hardware import HARDWARE
from fqvit_hw.paper_models import PAPER_MODELS, VitSize

from .estimate import Estimate

FIGURES = ("ns", "fmax", "over", "luts", "ffs", "dsps", "brams")


def commit() -> str:
    """The commit of the folder that this module is in, "" outside a checkout."""
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    folder = Path(__file__).resolve().parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def cycles(config: str) -> int | None:
    """Of DeiT-Tiny on a configuration; None if it does not hold the network."""
    size, hw = PAPER_MODELS["deit_tiny"].size, HARDWARE[config]
    assert isinstance(size, VitSize)
    try:
        return predict(compile_shape(Shape.of_size(size), hw).instructions, hw).cycles
    except UserError:
        return None


def record(estimates: Iterable[Estimate], path: Path, made_by: str | None = None) -> None:
    """Add what was estimated to the file, made if it is not there; failures are left out.

    made_by: the commit, found if it is not given.
    """
    made_by = commit() if made_by is None else made_by
    lines: dict[tuple[str, str, str], dict] = {}
    if path.exists():
        for line in map(json.loads, path.read_text().splitlines()):
            lines[line["commit"], line["block"], line["config"]] = line
    for e in estimates:
        if e.failure is None:
            line: dict = {"commit": made_by, "block": e.block, "config": e.config}
            line |= {name: getattr(e, name) for name in FIGURES}
            line["cycles"] = cycles(e.config) if e.block == "accelerator" else None
            key = (made_by, e.block, e.config)
            lines.pop(key, None)
            lines[key] = line
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text("".join(json.dumps(line) + "\n" for line in lines.values()))
    os.replace(draft, path)
