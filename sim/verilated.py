"""The accelerator as a program: Amaranth -> Verilog -> Verilator -> a compiled harness.

`build(hardware, trace)` gives the path of an executable (sim/harness/machine.cpp says how it is
called). It lies in build/sim_net/<configuration>[-trace]/ beside the checksum of everything that it
was made from, and is made again only when that changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fqvit_hw.hardware import BURST_BYTES, Hardware
from fqvit_hw.isa import Error

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "sim_net"
TOP = "accelerator"
SPEED = "-O3 -march=native"  # of what runs every cycle; the rest is compiled quickly
VERILATOR = (
    "verilator", "--cc", "--exe", "--build", "-j", "2", "--top-module", TOP,
    "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-fatal", "-Wno-lint",
    "-CFLAGS", "-std=c++17 -Wall",
    "-MAKEFLAGS", f"OPT_FAST='{SPEED}' OPT_SLOW=-O0 OPT_GLOBAL=-O3",
)  # fmt: skip


def sources(root: Path = ROOT) -> list[Path]:
    """Every file that the executable is made from."""
    found = [*(root / "rtl").glob("*.py"), *(root / "sim" / "harness").iterdir()]
    found += [root / "fqvit_hw" / f"{name}.py" for name in ("formats", "hardware", "isa")]
    return sorted([*found, root / "sim" / "verilated.py"])


def checksum(hardware: Hardware, trace: bool, root: Path = ROOT) -> str:
    sha = hashlib.sha256(repr((hardware, trace, VERILATOR)).encode())
    for path in sources(root):
        sha.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return sha.hexdigest()


def header(hardware: Hardware, trace: bool) -> str:
    """machine.h: what the harness must know of this configuration."""
    numbers = {
        "BUS_BYTES": hardware.bus_bytes,
        "LANES": hardware.lanes,
        "NORM_LANES": hardware.norm_lanes,
        "BURST_BYTES": BURST_BYTES,
    }
    names = ", ".join(f'"{error.name}"' for error in Error)
    return "".join(
        [
            f"// Configuration {hardware.name}; made by sim/verilated.py.\n#pragma once\n",
            f"#define TRACE {int(trace)}\n",
            *(f"constexpr unsigned {name} = {value};\n" for name, value in numbers.items()),
            f"constexpr const char* ERROR_NAMES[] = {{{names}}};\n",
        ]
    )


def emit(hardware: Hardware, trace: bool) -> str:
    """The Verilog of rtl.accelerator."""
    from amaranth.back import verilog
    from rtl.accelerator import Accelerator

    from rtl.verilog import readable

    component = Accelerator(hardware, trace=trace)
    return readable(verilog.convert(component, name=TOP, strip_internal_attrs=True, emit_src=False))


def build(
    hardware: Hardware,
    trace: bool = False,
    emit: Callable[[Hardware, bool], str] = emit,
    folder: Path | None = None,
    root: Path = ROOT,
) -> Path:
    """The executable, made if anything has changed; one process at a time makes it.

    Raises RuntimeError with the tool's first complaint if it cannot be built.
    """
    folder = folder or BUILD / f"{hardware.name}{'-trace' if trace else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    program, key, wanted = folder / "machine", folder / "key", checksum(hardware, trace, root)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists() and key.exists() and key.read_text() == wanted:
            return program
        key.unlink(missing_ok=True)
        print(f"building {folder}", file=sys.stderr, flush=True)
        (folder / f"{TOP}.v").write_text(emit(hardware, trace))
        (folder / "machine.h").write_text(header(hardware, trace))
        compile_verilog(folder, root / "sim" / "harness")
        shutil.copy2(folder / "obj" / f"V{TOP}", program)
        key.write_text(wanted)
    return program


def compile_verilog(folder: Path, harness: Path) -> None:
    """Verilator and g++ on <folder>/accelerator.v and the harness."""
    command = [
        *VERILATOR,
        *("-CFLAGS", f"-I{folder.resolve()} -I{harness.resolve()}", "--Mdir", f"{folder / 'obj'}"),
        *(f"{path.resolve()}" for path in sorted(harness.glob("*.cpp"))),
        f"{folder / TOP}.v",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise RuntimeError("verilator is missing: run `make setup`") from None
    log = folder / "build.txt"
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        said = (done.stderr + done.stdout).splitlines()
        first = next((line for line in said if "rror" in line), "it says nothing")
        raise RuntimeError(f"verilator: {first} (see {log})")
