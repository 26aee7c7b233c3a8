"""`fqvit-hw accuracy`: float, the paper's simulation and the integers on the same images."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

from ..accuracy.measurement import measure
from ..accuracy.options import BATCH, DEVICE_BATCH, NOISE_IMAGES, Options, named_configs
from ..accuracy.scoring import DECODERS
from ..accuracy.summary import layer_table, table
from ..command_line import count, positive
from ..config import PRESETS
from ..errors import UserError
from ..files import write_file


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "accuracy",
        help="compare float and integer accuracy (needs torch)",
        description="Float, the authors' float simulation and the integers, image by image.",
    )
    add = parser.add_argument
    add("--model", required=True, metavar="NAME", help="digits, deit_tiny ... or a timm name")
    add("--weights", type=Path, metavar="FILE", help=".pth, .safetensors or a folder")
    add("--data", type=Path, metavar="DIR", help="DIR/val/<synset>/*.JPEG, or that val itself")
    add(
        "--config", nargs="+", metavar="NAME|FILE", action="extend",
        help=f"{', '.join(PRESETS)}, or a TOML file (default: all presets)",
    )  # fmt: skip
    add("--calibration", type=Path, metavar="DIR", help="images to calibrate on (DATA/train)")
    add("--calibration-images", type=positive, metavar="N", help="instead of the configuration's")
    add(
        "--engine",
        metavar="NAME",
        help="fast, numpy or torch: the same integers (default: the fastest there is)",
    )
    add("--device", metavar="NAME", help="cuda: the torch engine and the float model there")
    add("--no-reference", action="store_true", help="without the paper's float simulation")
    add("--limit", type=positive, metavar="N", help="only N images, evenly spread")
    add("--batch", type=positive, metavar="N",
        help=f"images at a time, default {BATCH}, with --device {DEVICE_BATCH}")  # fmt: skip
    add("--workers", type=count, metavar="N", help=f"decoding processes, default {DECODERS}")
    add(
        "--ray",
        metavar="ADDRESS",
        help="spread over a Ray cluster: HOST:PORT of its head, auto or local",
    )
    add("--results", type=Path, metavar="FILE", help="append a JSON line per image")
    add("--resume", action="store_true", help="go on with the results file")
    add("--noise", type=count, metavar="N", default=NOISE_IMAGES,
        help=f"images for the noise of each layer, default {NOISE_IMAGES}")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="summary (default: beside the results file)")
    add("--png", type=Path, metavar="FILE", help="picture of the noise")
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    options = chosen(args)
    options.check()
    summary = measure(options)
    print(table(summary))
    layers = summary.get("layers")
    if layers:
        print(f"\n{layer_table(layers)}")
    if options.summary_file:
        write_file(options.summary_file, (json.dumps(summary) + "\n").encode())
    if options.png:
        if not layers:
            raise UserError("--png: there is no noise to draw, no image could be read")
        from ..accuracy.picture import noise_png

        write_file(options.png, noise_png(summary))


def chosen(args: Namespace) -> Options:
    """The evaluation that was asked for. Raises UserError for a configuration that is none."""
    return Options(
        model=args.model,
        configs=named_configs(args.config or list(PRESETS), args.calibration_images),
        weights=args.weights,
        data=args.data,
        calibration=args.calibration,
        reference=not args.no_reference,
        limit=args.limit,
        batch=args.batch,
        workers=args.workers,
        ray=args.ray,
        engine=args.engine,
        device=args.device,
        noise=args.noise,
        results=args.results,
        resume=args.resume,
        json=args.json,
        png=args.png,
        command=sys.argv[1:],
    )
