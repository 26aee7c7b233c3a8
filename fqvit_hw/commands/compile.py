"""`fqvit-hw compile`: a network file becomes a program for one size of the accelerator."""

from __future__ import annotations

from pathlib import Path

from ..data.digits import NETWORK_FILE
from ..errors import UserError
from ..files import check_file, check_folder
from ..machine.hardware import HARDWARE, hardware


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
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.set_defaults(run=run)


def run(args) -> None:
    from .. import QuantizedModel
    from ..compiler import compile_network
    from ..compiler.program import FILES

    hw = hardware(args.config)
    if not args.out:
        raise UserError("--out: expected the name of a folder")
    folder = Path(args.out)
    check_folder(folder)
    for name in FILES:
        check_file(folder / name)
    program = compile_network(QuantizedModel.load(args.network).network, hw)
    program.save(folder)
    print(
        f"{folder}: {len(program.instructions)} instructions for {hw.name}, "
        f"{program.size} bytes of memory, {program.macs} MACs"
    )
