"""The command line: `fqvit-hw COMMAND`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from .. import __version__
from ..command_line import Parser, program
from . import (
    ablation,
    accuracy,
    check,
    compile,
    features,
    frontier,
    golden,
    quantize,
    report,
    sweep,
    train,
    verilog,
)

TITLE = "Fully quantized vision transformers in integers only, from calibration to RTL."

# In the order of --help. A command is a module with add_parser(subparsers), which gives its parser
# the default run=, a function of the arguments that returns the exit status (None is 0).
COMMANDS = (
    train,
    quantize,
    accuracy,
    report,
    ablation,
    frontier,
    features,
    golden,
    check,
    compile,
    sweep,
    verilog,
)


def build_parser() -> ArgumentParser:
    parser = Parser(prog="fqvit-hw", description=TITLE)
    parser.add_argument("--version", action="version", version=f"fqvit-hw {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


@program("fqvit-hw")
def main(arguments: Sequence[str] | None = None) -> int | None:
    """Returns the exit status: 0, 1 for what a command calls a failure, else as `program` says."""
    args = build_parser().parse_args(arguments)
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
