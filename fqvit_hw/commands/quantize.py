"""`fqvit-hw quantize`: a timm model and a folder of images become one integer network file."""

from __future__ import annotations

from pathlib import Path

from ..config import PRESETS, load_config
from ..errors import UserError
from ..files import check_file


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "quantize", help="turn a timm model into an integer network file (needs torch)"
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="a timm name")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help=".safetensors, .pth or a folder"
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="calibrate on DIR/train if there is one, else on DIR; spread over its subfolders",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--config",
        default="best",
        metavar="NAME|FILE",
        help=f"{', '.join(PRESETS)}, or a TOML file (default: best)",
    )
    parser.add_argument(
        "--image-size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="a Swin's: its windows and shifts follow from it (default: the model's own)",
    )
    parser.set_defaults(run=run)


def run(args) -> None:
    from .. import quantize
    from ..data.imagenet import load_calibration, train_folder
    from ..data.images import Preprocessing
    from ..zoo.models import load_model

    check_file(args.out)
    if not args.out.parent.is_dir():
        raise UserError(f"{args.out.parent}: no such folder")
    name, config = load_config(args.config)
    model = load_model(args.model, args.weights, args.image_size)
    pixels = Preprocessing.of_model(model)
    folder = train_folder(args.data) or args.data
    found = load_calibration(None, folder, config.calibration_images, pixels)
    qm = quantize(model, found.images, config)
    qm.save(args.out)
    print(
        f"{args.out}: {args.model}, {name} configuration, calibrated on "
        f"{len(found.images)} images, {len(found.skipped)} files skipped"
    )
