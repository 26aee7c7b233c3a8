"""What the commands that compare configurations share: their arguments, and the run itself."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..accuracy.comparison import Row, float_logits, integer_logits, networks, summarize
from ..command_line import positive
from ..config import QuantConfig
from ..errors import UserError
from ..files import check_file, write_file


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="NAME", help="digits, or a timm name")
    parser.add_argument("--weights", type=Path, metavar="FILE", help=".safetensors or .pth")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="calibrate on DIR/train, evaluate on DIR/val"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="score N images, evenly spaced")
    parser.add_argument("--engine", metavar="NAME", help="default: the fastest there is")
    parser.add_argument("--json", type=Path, metavar="FILE")


def compare(args, configs: Mapping[str, QuantConfig]) -> tuple[list[Row], int, float]:
    """Score every configuration -> rows, number of images, top-1 of the float model; also into
    the file of --json. Raises UserError where there is nothing to score."""
    from ..accuracy.work import choose, prepare, tell_default_engine
    from ..data.batches import read_batch

    if args.json:
        check_file(args.json)
    if not args.engine:
        tell_default_engine()
    most = max(config.calibration_images for config in configs.values())
    work = prepare(args.model, args.weights, args.data, calibration_images=most)
    model, calibration, mean, std = work.model, work.calibration, work.mean, work.std
    test = read_batch(work.source, choose(work.source, args.limit))
    for file, why in test.broken:
        print(f"fqvit-hw: skipped {file}: {why}", file=sys.stderr)
    if not test.files:
        raise UserError(f"{args.data}: none of the chosen images can be read")
    images, labels = test.images, np.array(test.labels)
    rows, real = [], float_logits(model, images, mean, std)
    for name, qm in networks(model, calibration, configs, mean, std):
        logits = integer_logits(qm, images, args.engine, name)
        rows.append(summarize(name, real, logits, labels))
        print(f"{rows[-1].name}: {rows[-1].snr:.2f} dB", flush=True)
    top1 = float(np.mean(real.argmax(1) == labels))
    if args.json:
        content = {"model": args.model, "images": len(images), "float_top1": top1}
        content["rows"] = [vars(row) for row in rows]
        write_file(args.json, (json.dumps(content, indent=1) + "\n").encode())
    return rows, len(images), top1
