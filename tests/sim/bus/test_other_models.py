"""The accelerator attached to cocotbext-axi's models, which know nothing of this project."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET

from cocotb_tools.runner import get_runner

from fqvit_hw.places import CHECKOUT
from fqvit_hw.rtl.flow import verilog
from fqvit_hw.sim.blocks.accelerator import component
from fqvit_hw.sim.networks.smallest import SMALLEST

TOP = "accelerator"


def test_pixels_to_logits_with_unknown_memories(tmp_path):
    """SYNTHESIS leaves out the loops that fill memories with zeros: to Icarus all their bits are X.
    The RAM fails at an X on WDATA, its host at one in a register.
    """
    source = tmp_path / f"{TOP}.v"
    source.write_text(verilog.source(TOP, SMALLEST.name, vars(SMALLEST), component(SMALLEST)))
    assert "`ifndef SYNTHESIS" in source.read_text()
    runner = get_runner("icarus")
    runner.build(
        sources=[source], hdl_toplevel=TOP, build_dir=tmp_path, defines={"SYNTHESIS": 1},
        timescale=("1ns", "1ps"), log_file=tmp_path / "build.txt",
    )  # fmt: skip
    path = [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    results = runner.test(
        hdl_toplevel=TOP, test_module="tests.sim.bus.other_models", build_dir=tmp_path,
        test_dir=tmp_path, results_xml=str(tmp_path / "results.xml"),
        extra_env={"PYTHONPATH": os.pathsep.join(path)}, log_file=tmp_path / "log.txt",
    )  # fmt: skip
    (case,) = ET.parse(results).getroot().iter("testcase")
    assert case.get("name", "").endswith("pixels_to_logits")
    assert not {part.tag for part in case} & {"failure", "error", "skipped"}
