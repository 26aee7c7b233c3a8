"""The command line: `fqvit-hw COMMAND`. Each command is a module with add_parser and run."""

from __future__ import annotations

import argparse
import importlib
import sys

from ..command_line import USER_ERRORS, Parser, one_line

# a module here adds its subcommand: add_parser(subparsers) sets run=, a function of the arguments
COMMANDS = (
    "train",
    "quantize",
    "accuracy",
    "report",
    "ablation",
    "features",
    "golden",
    "check",
    "compile",
    "sweep",
)


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="fqvit-hw", description=__doc__.split("\n")[0])
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f".{name}", __package__).add_parser(subparsers)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 2 for the user's mistake (one line on stderr), 130 for Ctrl-C."""
    try:
        args = build_parser().parse_args(argv)
        return args.run(args) or 0
    except USER_ERRORS as error:
        print(f"fqvit-hw: error: {one_line(error)}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, of a device: not imported here
            raise
        print(f"fqvit-hw: error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
