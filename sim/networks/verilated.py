"""The accelerator as a program: Amaranth -> Verilog -> Verilator -> a compiled harness.

`build(hardware, trace)`, or `python -m fqvit_hw.sim.networks.verilated CONFIG`, gives the path of
an executable (sim/networks/harness/machine.cpp says how it is called). It lies in
build/sim_net/<configuration>/ beside the checksum of everything that it was made from, and is made
again only when that changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fqvit_hw.command_line import Parser, program
from fqvit_hw.errors import ToolError
from fqvit_hw.machine.hardware import BURST_BYTES, HARDWARE, Hardware
from fqvit_hw.machine.hardware import hardware as config
from fqvit_hw.machine.isa import Error
from fqvit_hw.machine.registers import c_header
from fqvit_hw.places import BUILD

from .sources import closure

OUT = BUILD / "sim_net"
HARNESS = Path(__file__).parent / "harness"
TOP = "accelerator"
VERILATOR = (
    "verilator", "--cc", "--exe", "--build", "-j", "2", "--top-module", TOP,
    "-O3", "--x-assign", "fast", "--x-initial", "unique", "--noassert", "-Wno-fatal", "-Wno-lint",
    # functions of ten thousand statements take g++ minutes
    "--output-split", "5000", "--output-split-cfuncs", "800",
    "-DSYNTHESIS",  # leaves out the loops that fill memories with zeros (rtl/flow/verilog.py)
    "-CFLAGS", "-std=c++17 -Wall",
)  # fmt: skip
# Optimization of what runs every cycle, of what runs now and then, and of Verilator's own library.
# (-O3: 5 % faster for 30 % more of the compiler's time; -O1: 10 % slower for 30 % less.)
FAST = "OPT_FAST='-O2 -march=native' OPT_SLOW=-O0 OPT_GLOBAL=-O2"
QUICK = "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O0"  # built sooner, for a few short runs
INITIAL = re.compile(r"^(  reg (?:signed )?(?:\[\d+:\d+\] )?\w+) = [^;]+;$", re.MULTILINE)


def sources() -> list[Path]:
    """Every file that the executable is made from: what this one imports, and the harness."""
    return [*closure("fqvit_hw.sim.networks.verilated"), *sorted(HARNESS.iterdir())]


def checksum(*parts: str | bytes) -> str:
    sha = hashlib.sha256()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        sha.update(b"%d\n" % len(part) + part)
    return sha.hexdigest()


def header(hardware: Hardware, trace: bool) -> str:
    """machine.h: what the harness must know of this configuration."""
    numbers = {
        "BUS_BYTES": hardware.bus_bytes,
        "LANES": hardware.lanes,
        "CODE_BITS": hardware.code_bits,
        "NORM_LANES": hardware.norm_lanes,
        "BURST_BYTES": BURST_BYTES,
    }
    names = ", ".join(f'"{error.name}"' for error in Error)
    return "".join(
        [
            f"// Configuration {hardware.name}; made by sim/networks/verilated.py.\n#pragma once\n",
            "#include <cstdint>\n",
            f"#define TRACE {int(trace)}\n",
            *(f"constexpr unsigned {name} = {value};\n" for name, value in numbers.items()),
            f"constexpr const char* ERROR_NAMES[] = {{{names}}};\n",
            f"{c_header()}\n",
        ]
    )


def unset(text: str) -> str:
    """No register starts with a value, so that Verilator gives each a random one: what a run needs
    must come of the reset, as on a chip, or of the run itself.
    """
    return INITIAL.sub(r"\1;", text)


def emit(hardware: Hardware, trace: bool) -> str:
    """The Verilog of rtl.accelerator.accelerator, with registers that start at random."""
    from fqvit_hw.rtl.accelerator.accelerator import Accelerator
    from fqvit_hw.rtl.flow.verilog import convert

    return unset(convert(Accelerator(hardware, trace=trace), TOP))


def build(hardware: Hardware, trace: bool = False, quick: bool = False) -> Path:
    """The executable, made if anything has changed; one process at a time makes it.

    quick: compile for a short wait instead of for speed. Raises ToolError with the tool's first
    complaint if it cannot be built.
    """
    optimize = QUICK if quick else FAST
    folder = OUT.resolve() / "-".join([hardware.name, *["trace"] * trace, *["quick"] * quick])
    folder.mkdir(parents=True, exist_ok=True)
    program, keys = folder / "machine", folder / "keys"
    here = f"{hardware}, {trace}, {optimize}"
    files = sources()
    read = checksum(here, *map(str, files), *(path.read_bytes() for path in files))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = keys.read_text().split() if program.exists() and keys.exists() else [None, None]
        if known[0] == read:
            return program
        # A change of a comment is none of the machine: what counts is what the compiler would see.
        texts = {f"{TOP}.v": emit(hardware, trace), "machine.h": header(hardware, trace)}
        harness = (path.read_bytes() for path in sorted(HARNESS.iterdir()))
        seen = checksum(here, *texts.values(), *harness, *VERILATOR)
        if known[1] != seen:
            keys.unlink(missing_ok=True)
            print(f"building {folder}", file=sys.stderr, flush=True)
            for name, text in texts.items():
                (folder / name).write_text(text)
            compile_verilog(folder, optimize)
            shutil.copy2(folder / "obj" / f"V{TOP}", program)
        keys.write_text(f"{read} {seen}\n")
    return program


def compile_verilog(folder: Path, optimize: str = FAST, more: Sequence[str] = ()) -> None:
    """Verilator and g++ on accelerator.v and machine.h in `folder`, and on the harness; more:
    options of Verilator."""
    command = [
        *(*VERILATOR, *more, "-MAKEFLAGS", optimize),
        *("-CFLAGS", f"-I{folder} -I{HARNESS}", "--Mdir", f"{folder / 'obj'}"),
        *(f"{path}" for path in sorted(HARNESS.glob("*.cpp"))),
        f"{folder / TOP}.v",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise ToolError("verilator is missing: run `make setup`") from None
    log = folder / "build.txt"
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        said = (done.stderr + done.stdout).splitlines()
        first = next((line for line in said if "rror" in line), "it says nothing")
        raise ToolError(f"verilator: {first} (see {log})")


@program("verilated")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(prog="python -m fqvit_hw.sim.networks.verilated", description=__doc__)
    parser.add_argument("config", help=f"one of {', '.join(HARDWARE)}")
    parser.add_argument("--trace", action="store_true", help="with trace ports")
    parser.add_argument("--quick", action="store_true", help="built sooner, runs slower")
    options = parser.parse_args(arguments)
    print(build(config(options.config), options.trace, options.quick))


if __name__ == "__main__":
    sys.exit(main())
