"""`fqvit-hw golden`: record golden vectors of an integer network on real images."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from ..data.digits import NETWORK_FILE, test_set
from ..errors import UserError
from ..model import QuantizedModel
from ..places import CHECKOUT, GOLDEN
from ..vectors import files as vectors
from ..vectors.record import WHOLE_IMAGES, golden_cases
from ..vectors.seed import SEED


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "golden",
        help="record golden vectors of a network on real images",
        description="Without options: the checked-in vectors, from the digits network and its "
        "test images; the same bytes on every machine. With --network and --images: the same for "
        "a network of your own.",
    )
    parser.add_argument("--network", type=Path, metavar="FILE", help="a saved QuantizedModel")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of images for it")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default, in a checkout only: its golden/"
    )
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Returns the exit status. Raises UserError or OSError for bad input."""
    if (args.network is None) != (args.images is None):
        raise UserError("golden: --network and --images go together")
    out = chosen_folder(args)
    if args.network is None:
        path, images, source = NETWORK_FILE, test_set()[0][:WHOLE_IMAGES], "digits test images 0, 1"
        command = "fqvit-hw golden"
    else:
        from ..data.images import Preprocessing, load_images  # needs the extra [model]

        path = args.network
        channels, height, width = QuantizedModel.load(path).network.image_shape
        images = load_images(
            args.images, Preprocessing((height, width), channels), WHOLE_IMAGES
        ).images
        source = str(args.images)
        command = f"fqvit-hw golden --network {path} --images {args.images} --out {out}"
    manifest = vectors.write(
        out,
        golden_cases(QuantizedModel.load(path), images),
        {
            "command": command,
            "network": {"file": path.name, "sha256": vectors.sha256(path.read_bytes())},
            "images": {"source": source, "sha256": vectors.sha256(images.tobytes())},
            "seed": SEED,
        },
    )
    files = sum(1 + len(case["tensors"]) for case in manifest["cases"])
    print(f"{len(manifest['cases'])} cases in {files} files under {out}")
    return 0


def chosen_folder(args: Namespace) -> Path:
    """--out, or the golden/ of the checkout, where the vectors of the digits are kept."""
    if args.out is None and CHECKOUT is None:
        raise UserError(
            "golden: --out is needed: `fqvit-hw golden --out golden` makes the vectors that "
            "`fqvit-hw check` looks for in the same folder"
        )
    out = args.out or GOLDEN
    if args.network is not None and CHECKOUT and out.resolve() == GOLDEN:
        raise UserError("golden: --out is needed: golden/ keeps the vectors of the digits")
    return out
