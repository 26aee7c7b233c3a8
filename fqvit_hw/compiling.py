"""`fqvit-hw compile`: a network file becomes a program for one size of the accelerator."""

from __future__ import annotations

from pathlib import Path

from .digits import NETWORK_FILE
from .hardware import HARDWARE, hardware
from .outputs import check_folder


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "compile", help="turn a network file into instructions and a memory image"
    )
    parser.add_argument(
        "--network", type=Path, default=NETWORK_FILE, metavar="FILE",
        help="a network file of quantize or train (default: the built-in digits network)",
    )  # fmt: skip
    parser.add_argument(
        "--config", default="base", metavar="NAME",
        help=f"size of the machine: {', '.join(HARDWARE)} (default: base)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.set_defaults(run=run)


def run(args) -> None:
    from . import QuantizedModel
    from .compiler import compile_network

    hw = hardware(args.config)
    check_folder(args.out)
    program = compile_network(QuantizedModel.load(args.network).network, hw)
    program.save(args.out)
    print(
        f"{args.out}: {len(program.instructions)} instructions for {hw.name}, "
        f"{program.size} bytes of memory, {program.macs} MACs"
    )
