"""`fqvit-hw train digits`: make the built-in network again, from a fixed seed."""

from __future__ import annotations

from pathlib import Path

from ..data import digits
from ..zoo.digits import float_top1, load, serialize_weights, train


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "train", help="train the built-in network again and quantize it (needs torch)"
    )
    parser.add_argument("network", choices=["digits"])
    parser.add_argument(
        "--out", type=Path, default=Path("build/digits"), metavar="DIR",
        help="default build/digits; the built-in files lie in fqvit_hw/data, and golden/ is "
        "made from them",
    )  # fmt: skip
    parser.add_argument(
        "--quantize-only", action="store_true", help="keep the float weights of the repository"
    )
    parser.set_defaults(run=run)


def run(args) -> None:
    from .. import quantize
    from ..files import write_atomically

    args.out.mkdir(parents=True, exist_ok=True)
    model = load() if args.quantize_only else train()
    content = serialize_weights(model)
    images, _ = digits.train_set()
    qm = quantize(model, images, digits.CONFIG, mean=digits.MEAN, std=digits.STD)
    write_atomically(args.out / digits.FLOAT_FILE.name, content)
    qm.save(args.out / digits.NETWORK_FILE.name)
    print(f"float top-1 on {len(digits.test_set()[1])} held-out images: {float_top1(model):.2%}")
    print(f"wrote {digits.FLOAT_FILE.name} and {digits.NETWORK_FILE.name} to {args.out}")
