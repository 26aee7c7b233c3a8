"""`fqvit-hw verilog`: Verilog of the blocks and of the accelerator, in the named configurations."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

from ..files import check_folder
from ..machine.hardware import HARDWARE
from ..places import BUILD


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "verilog",
        help="Verilog of any block in any configuration (needs amaranth)",
        description="DIR/BLOCK.v is the configuration base, DIR/CONFIG/BLOCK.v the others. A file "
        "gets its name when Verilator and Icarus, as far as they are there, accept it without a "
        "warning. Exit status 0 if all files did, 1 if not.",
    )
    parser.add_argument(
        "--block", metavar="NAME", help="softmax, ..., accelerator (default: all of them)"
    )
    parser.add_argument(
        "--config", metavar="NAME", help=f"{', '.join(HARDWARE)} (default: all of them)"
    )
    parser.add_argument(
        "--prefix", default="", metavar="NAME",
        help="begin file and module names with NAME_, so that blocks of two configurations can "
        "stand in one design",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=BUILD / "verilog", metavar="DIR", help="default: build/verilog"
    )
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Returns the exit status. Raises UserError for a name that is none, or no prefix."""
    from ..rtl.flow.configs import select
    from ..rtl.flow.verilog import missing_linters, top, write

    pairs = select(args.config, args.block)[::-1]  # the largest first: no process is left alone
    for block, _ in pairs:
        top(block, args.prefix)
    check_folder(args.out)
    if missing := missing_linters():
        print(f"fqvit-hw: not linted by {' and '.join(missing)}: not installed", file=sys.stderr)
    failed = False
    blocks, configs = zip(*pairs, strict=True)
    with ProcessPoolExecutor(min(len(pairs), os.cpu_count() or 1)) as pool:
        written = pool.map(write, blocks, configs, repeat(args.out), repeat(args.prefix))
        for (block, config), (path, complaint) in zip(pairs, written, strict=True):
            if complaint is None:
                print(f"{path}  {path.stat().st_size // 1024} KiB", flush=True)
            else:
                failed = True
                print(f"fqvit-hw: {block} {config}: {complaint}; see {path}", file=sys.stderr)
    return 1 if failed else 0
