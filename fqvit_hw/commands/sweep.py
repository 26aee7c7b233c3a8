"""`fqvit-hw sweep`: array shape against cycles, traffic and multipliers, for all eight models."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from ..command_line import positive
from ..files import check_file, write_file
from ..paper_models import PAPER_MODELS
from ..sweep.page import markdown
from ..sweep.picture import picture
from ..sweep.points import BASE_SHAPE, LANE_MODELS, LANES, SHAPES, as_json, sweep


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "sweep", help="array shape against cycles, traffic and multipliers, from the cycle model"
    )
    names = [hw.name for hw in SHAPES]
    parser.add_argument(
        "--models", nargs="+", choices=PAPER_MODELS, default=list(PAPER_MODELS), metavar="NAME",
        help=f"{', '.join(PAPER_MODELS)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--shapes", nargs="+", choices=names, default=names, metavar="RxC",
                        help=f"{', '.join(names)} (default: all)")  # fmt: skip
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables (else: printed)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers")
    parser.add_argument("--png", type=Path, metavar="FILE", help="the picture (needs matplotlib)")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, metavar="N",
                        help="processes (default: one a core)")  # fmt: skip
    parser.set_defaults(run=run)


def run(args) -> None:
    for path in (args.markdown, args.json, args.png):  # before the work
        if path:
            check_file(path)
    if args.png:
        importlib.import_module("matplotlib")
    shapes = tuple(hw for hw in SHAPES if hw.name in args.shapes)
    models = list(dict.fromkeys(args.models))
    points = sweep(models, shapes, args.jobs)
    lanes = []
    if BASE_SHAPE in args.shapes:
        lanes = sweep([name for name in models if name in LANE_MODELS], LANES, args.jobs)
    for path, make in (
        (args.markdown, lambda: markdown(points, lanes).encode()),
        (args.json, lambda: as_json([*points, *lanes]).encode()),
        (args.png, lambda: picture(points)),
    ):
        if path:
            write_file(path, make())
            print(path)
    if not args.markdown:
        print(markdown(points, lanes), end="")
