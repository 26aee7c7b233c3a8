"""`fqvit-hw ablation`: what each ingredient of the best configuration buys, as a Markdown table."""

from __future__ import annotations

from ..accuracy.ablation import variants
from ..accuracy.comparison import markdown
from .comparison import add_arguments, compare


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "ablation", help="what each ingredient of the best configuration buys (needs torch)"
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(args) -> None:
    rows, images, top1 = compare(args, variants())
    print(markdown(args.model, images, top1, rows))
