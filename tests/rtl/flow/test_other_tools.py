"""Other people's tools read what `fqvit-hw verilog` writes: Yosys, slang, and GHDL by a wrapper.

Verilator and Icarus lint every file when it is written (tests/rtl/flow/test_verilog.py).
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

import pytest
from pyslang.ast import Compilation
from pyslang.syntax import SyntaxTree

from fqvit_hw.rtl.flow import verilog
from fqvit_hw.rtl.flow.configs import BLOCKS
from fqvit_hw.rtl.flow.tools import run as run_tool

needs_ghdl = pytest.mark.skipif(
    shutil.which("ghdl") is None, reason="no GHDL here (Debian: apt-get install ghdl)"
)


@cache
def emitted(block: str) -> str:
    return verilog.emit(block, "tiny")


def slang(text: str) -> tuple[list[str], list[str]]:
    """-> errors, top modules."""
    compilation = Compilation()
    compilation.addSyntaxTree(SyntaxTree.fromText(text))
    errors = [str(found.code) for found in compilation.getAllDiagnostics() if found.isError()]
    return errors, [top.name for top in compilation.getRoot().topInstances]


@pytest.mark.parametrize("block", BLOCKS)
def test_slang(block):
    assert slang(emitted(block)) == ([], [block])


def test_slang_sees_a_missing_name():
    errors, _ = slang(emitted("requantize").replace(" i_payload;", " j_payload;"))
    assert errors


def yosys(text: str, top: str, folder) -> str | None:
    (folder / "design.v").write_text(text)
    script = f"read_verilog design.v; hierarchy -check -top {top}"
    return run_tool("yosys", ["-p", script], folder, "log.txt")


@pytest.mark.parametrize("block", BLOCKS)
def test_yosys(block, tmp_path):
    assert yosys(emitted(block), block, tmp_path) is None


def test_yosys_sees_a_missing_module(tmp_path):
    text = emitted("softmax").replace("module softmax_lookup(", "module elsewhere(")
    assert "softmax_lookup" in (yosys(text, "softmax", tmp_path) or "")


def wrapper(top: str, ports: dict[str, tuple[str, int]]) -> str:
    """A VHDL entity that holds the Verilog module as a component, port by port."""
    kinds = {1: "std_logic"}
    declared = ";\n".join(
        f"    {name} : {flow} {kinds.get(bits, f'std_logic_vector({bits - 1} downto 0)')}"
        for name, (flow, bits) in ports.items()
    )
    mapped = ",\n".join(f"    {name} => {name}" for name in ports)
    return f"""library ieee;
use ieee.std_logic_1164.all;
entity outside is
  port (
{declared}
  );
end entity;
architecture structure of outside is
  component {top} is
  port (
{declared}
  );
  end component;
begin
  inner : {top} port map (
{mapped}
  );
end architecture;
"""


def ghdl(text: str, folder) -> subprocess.CompletedProcess:
    (folder / "outside.vhd").write_text(text)
    command = ["ghdl", "-a", "--std=93", "outside.vhd"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@needs_ghdl
@pytest.mark.parametrize("block", BLOCKS)
def test_ghdl(block, tmp_path):
    ports = verilog.ports_of(emitted(block), block)
    assert ports["clk"] == ports["rst"] == ("in", 1) and len(ports) > 5
    done = ghdl(wrapper(block, ports), tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_ghdl
@pytest.mark.parametrize("name", ["i__valid", "config_", "_n", "in"])
def test_ghdl_sees_a_name_that_is_none(name, tmp_path):
    assert ghdl(wrapper("gelu", {"clk": ("in", 1), name: ("in", 1)}), tmp_path).returncode
