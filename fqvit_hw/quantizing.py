"""`fqvit-hw quantize`: a timm model and a folder of images become one integer network file."""

from __future__ import annotations

from pathlib import Path

from .config import PRESETS
from .errors import UserError


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "quantize", help="turn a timm model into an integer network file (needs torch)"
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="a timm name")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help=".safetensors, .pth or a folder"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="images to calibrate on"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--config", choices=sorted(PRESETS), default="default")
    parser.set_defaults(run=run)


def run(args) -> None:
    from . import quantize
    from .images import Preprocessing, load_images
    from .zoo import load_model

    if not args.out.parent.is_dir():
        raise UserError(f"{args.out.parent}: no such folder")
    model = load_model(args.model, args.weights)
    found = load_images(args.data, Preprocessing.of_model(model))
    qm = quantize(model, found.images, PRESETS[args.config])
    qm.save(args.out)
    print(
        f"{args.out}: {args.model}, {args.config} configuration, calibrated on "
        f"{len(found.images)} images, {len(found.skipped)} files skipped"
    )
