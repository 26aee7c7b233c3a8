"""`fqvit-hw frontier`: what bits of attention codes and of weights buy, as a Markdown table."""

from __future__ import annotations

from ..accuracy.comparison import markdown
from ..accuracy.frontier import variants
from .comparison import add_arguments, compare


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "frontier",
        help="accuracy by bits of attention codes and of weights (needs torch)",
        description="Every combination of 3, 4, 5 and 8 bits of attention codes and 8 to 4 bits "
        "of weights, all else as in the preset best, on the same images.",
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(args) -> None:
    rows, images, top1 = compare(args, variants())
    print(markdown(args.model, images, top1, rows))
