"""Builds a block's Verilog, compiles it for Icarus and runs its bench: one folder per run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cocotb_tools.runner import get_runner

from fqvit_hw.blocks import BLOCKS, load
from fqvit_hw.errors import ToolError, UserError
from fqvit_hw.places import BUILD, CHECKOUT, GOLDEN, PACKAGE
from fqvit_hw.rtl.flow import verilog

from .request import Request

OUT = BUILD / "sim"
TESTS = ("steady", "stalls", "reset_in_mid_row")
MIN_ICARUS = 11


@dataclass
class Result:
    """beats: output beats compared, over all modes; cycles: simulated; failure: None if passed.

    left_out: the cases that this size does not run, and why.
    """

    block: str
    config: str
    beats: int = 0
    cycles: int = 0
    seconds: float = 0.0
    failure: str | None = None
    cases: list[dict] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.failure is None


def require_icarus() -> None:
    """Raises ToolError if Icarus Verilog is missing or older than 11."""
    if shutil.which("iverilog") is None:
        raise ToolError("Icarus Verilog (iverilog) is missing: run `make setup`")
    text = subprocess.run(["iverilog", "-V"], capture_output=True, text=True).stdout
    version = re.search(r"version (\d+)", text)
    if version is None or int(version[1]) < MIN_ICARUS:
        first = text.splitlines()[0] if text else "no version"
        raise ToolError(f"Icarus Verilog {MIN_ICARUS} or newer is needed, found: {first}")


def block_module(block: str) -> Any:
    """The module of the block's cases. Raises UserError for an unknown block."""
    if block not in BLOCKS:
        raise UserError(f"unknown block {block!r}; there are {', '.join(BLOCKS)}")
    return load(BLOCKS[block].bench)


def configurations(block: str, size: str) -> list[str]:
    """Names of the bench configurations: all of them, or the small ones."""
    module = block_module(block)
    return list(module.SMALL if size == "small" else module.CONFIGURATIONS)


def run_bench(
    block: str,
    config: str,
    size: str = "small",
    *,
    case: str | None = None,
    waves: bool = False,
    flip: bool = False,
    mutate: Callable[[str], str] | None = None,
    folder: Path | None = None,
) -> Result:
    """Run one block in one configuration. `flip` and `mutate` are the negative controls."""
    require_icarus()
    module = block_module(block)
    if config not in module.CONFIGURATIONS:
        names = ", ".join(module.CONFIGURATIONS)
        raise UserError(f"unknown configuration {config!r} of {block}; there are {names}")
    folder = (folder or OUT / block / config).resolve()  # the bench runs in it
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.monotonic()
    parameters = module.CONFIGURATIONS[config]
    text = verilog.source(block, config, vars(parameters), module.component(parameters))
    if mutate is not None:
        mutated = mutate(text)
        if mutated == text:
            raise ValueError(f"{block}: the mutation changed nothing")
        text = mutated
    source = folder / f"{block}.v"
    source.write_text(text)
    results = folder / "results.jsonl"
    request = Request(block, config, size, str(results), case, flip)
    environment = request.environment | {
        "FQVIT_GOLDEN": os.environ.get("FQVIT_GOLDEN", str(GOLDEN.resolve())),
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    if CHECKOUT is None:  # cocotb lets pytest rewrite what is imported, and keep that beside it
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    runner = get_runner("icarus")
    log = folder / "log.txt"
    failure = None
    try:
        runner.build(
            sources=[source], hdl_toplevel=block, build_dir=folder, waves=waves,
            timescale=("1ns", "1ps"), log_file=folder / "build.txt",
        )  # fmt: skip
        junit = runner.test(
            hdl_toplevel=block, test_module="fqvit_hw.sim.blocks.bench",
            build_dir=folder, test_dir=folder, results_xml=str(folder / "results.xml"),
            extra_env=environment, waves=waves, log_file=log,
        )  # fmt: skip
        failure = junit_failure(Path(junit))
    except (SystemExit, RuntimeError, subprocess.CalledProcessError) as error:
        # cocotb's runner exits when a test fails: what failed stands in the results
        xml = folder / "results.xml"
        failure = (junit_failure(xml) if xml.exists() else None) or (
            f"simulator failed ({error}); see {log}"
        )
    result = Result(block, config, failure=failure, seconds=time.monotonic() - start)
    lines = results.read_text().splitlines() if results.exists() else []
    for line in map(json.loads, lines):
        result.beats += line["beats"]
        result.cycles += line["cycles"]
        result.left_out |= line["left_out"]
        result.cases += [{"mode": line["mode"]} | c for c in line["cases"]]
    if result.passed and (len(lines) != len(TESTS) or not result.beats):
        result.failure = f"{len(lines)} of {len(TESTS)} tests compared {result.beats} beats"
    return result


def junit_failure(path: Path) -> str | None:
    """None if cocotb's results file holds exactly the expected tests, all passed."""
    if not path.exists():
        return "no results file: the simulation did not finish"
    cases = list(ET.parse(path).getroot().iter("testcase"))
    names = sorted(c.get("name", "").split(".")[-1] for c in cases)
    if names != sorted(TESTS):
        return f"expected tests {sorted(TESTS)}, results hold {names}"
    for c in cases:
        for kind in ("failure", "error", "skipped"):
            found = c.find(kind)
            if found is not None:
                message = found.get("error_msg") or found.get("message") or found.text or kind
                return f"{c.get('name')}: {message}"
    return None
