"""Compile the C kernels on first use, for this very machine, and keep the library in a cache.

The cache is $XDG_CACHE_HOME/fqvit_hw or ~/.cache/fqvit_hw; a library's name is a hash of all that
it depends on: sources, flags, the compiler's version and the CPU's features. A build goes to a
temporary name and is renamed, so that two processes may start at once.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from ...errors import MissingError

SOURCES = Path(__file__).parent
# No -ffast-math: every float operation must round as IEEE 754 says, because the kernels prove from
# that that nothing is rounded. These flags only let the compiler use the vector forms of floor,
# sqrt, minimum and maximum; there are no infinities, NaN, or traps to tell apart.
FLAGS = ["-std=gnu11", "-O3", "-fopenmp-simd", "-fPIC", "-shared"]
FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-ffinite-math-only", "-fno-signed-zeros"]
# From the best to what every compiler has; a target whose library fails its check is passed over.
TARGETS = (
    ("-march=native", "-fopenmp"),
    ("-mcpu=native", "-fopenmp"),  # how some compilers for ARM spell it
    ("-march=x86-64-v3", "-fopenmp"),
    ("-fopenmp",),
    ("-march=native",),
    (),
)


class UnavailableError(MissingError):
    """The fast engine cannot run here; the message says why in one line."""


def compiler() -> list[str]:
    """$CC, or the first of cc, gcc and clang on the PATH. Raises UnavailableError."""
    if os.environ.get("CC"):
        command = shlex.split(os.environ["CC"])
        if not shutil.which(command[0]):
            raise UnavailableError(f"the C compiler of $CC, {command[0]!r}, is not there")
        return command
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise UnavailableError("no C compiler (cc, gcc or clang) on the PATH, and $CC is not set")


def cpu_features() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    kept = ("vendor_id", "cpu family", "model\t", "flags", "Features", "CPU part")
    features = sorted({line for line in lines if line.startswith(kept)})
    return "\n".join([platform.machine(), platform.processor(), *features])


def cache_folder() -> Path:
    """The cache; where it cannot be written, a folder that goes when this process does."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fqvit_hw"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    folder = tempfile.mkdtemp(prefix="fqvit_hw.")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def build(target: tuple[str, ...], folder: Path) -> ctypes.CDLL:
    """The library for a target, compiled unless it is in the folder. Raises UnavailableError."""
    command = [*compiler(), *FLAGS, *target]
    version = subprocess.run([*command[:1], "--version"], capture_output=True, text=True).stdout
    key = hashlib.sha256("\0".join([*command, version, cpu_features()]).encode())
    for source in sorted(SOURCES.glob("*.[ch]")):
        key.update(source.name.encode() + b"\0" + source.read_bytes())
    library = folder / f"fast-{key.hexdigest()[:24]}.so"
    try:
        if not library.exists():
            compile_to(library, command)
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise UnavailableError(f"the compiled library does not load: {error}") from error


def compile_to(library: Path, command: list[str]) -> None:
    temporary = library.with_name(f".{library.name}.{os.getpid()}.tmp")
    try:
        done = subprocess.run(
            [*command, "-o", str(temporary), str(SOURCES / "library.c"), "-lm"],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            reason = (errors or done.stderr.splitlines() or ["no message"])[0]
            raise UnavailableError(
                f"{' '.join(command[:1])} does not compile the kernels: {reason}"
            )
        os.replace(temporary, library)
    finally:
        temporary.unlink(missing_ok=True)
