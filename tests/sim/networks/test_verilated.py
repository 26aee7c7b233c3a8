"""When the Verilator executable is made again: a source that matters has changed, and only then."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fqvit_hw.machine.hardware import TINY
from fqvit_hw.places import PACKAGE, RTL
from fqvit_hw.sim.networks import sources, verilated


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the kit's Python files, which the executable is said to be made from."""
    copy = tmp_path / "fqvit_hw"

    def others(folder: str, names: list[str]) -> list[str]:
        return [n for n in names if not (n.endswith(".py") or Path(folder, n).is_dir())]

    shutil.copytree(PACKAGE, copy, ignore=others)
    monkeypatch.setattr(sources, "PACKAGE", copy)
    return copy


@pytest.fixture
def emitted(tmp_path, monkeypatch) -> list[str]:
    """`build` without its tools; the names of the configurations that it looked at anew."""
    looked_at = []

    def emit(hardware, trace):
        looked_at.append(hardware.name)
        return f"module {hardware.name}; endmodule\n"

    def compile_verilog(folder, optimize):
        (folder / "obj").mkdir(exist_ok=True)
        (folder / "obj" / f"V{verilated.TOP}").touch()

    monkeypatch.setattr(verilated, "OUT", tmp_path / "out")
    monkeypatch.setattr(verilated, "emit", emit)
    monkeypatch.setattr(verilated, "compile_verilog", compile_verilog)
    return looked_at


@pytest.mark.parametrize(
    ("file", "matters"),
    [
        ("rtl/parts/dot.py", True),
        ("rtl/blocks/softmax.py", True),
        ("rtl/accelerator/gemm.py", True),
        ("rtl/flow/verilog.py", True),
        ("formats.py", True),
        ("machine/isa.py", True),
        ("sim/networks/verilated.py", True),
        ("rtl/blocks/attention.py", False),  # the accelerator has its own array
        ("rtl/flow/pnr.py", False),
        ("machine/interpreter.py", False),
        ("units/softmax.py", False),
        ("sim/networks/net.py", False),
    ],
)
def test_a_change_of_a_file(package, emitted, file, matters):
    verilated.build(TINY)
    verilated.build(TINY)
    assert len(emitted) == 1
    with (package / file).open("a") as changed:
        changed.write("# another comment\n")
    verilated.build(TINY)
    assert len(emitted) == 1 + matters


def test_a_file_that_is_added_to_a_subfolder(package, emitted):
    verilated.build(TINY)
    (package / "rtl/parts/more.py").write_text("")
    verilated.build(TINY)
    assert len(emitted) == 1  # nothing imports it
    with (package / "rtl/parts/dot.py").open("a") as changed:
        changed.write("from .more import *\n")
    verilated.build(TINY)
    (package / "rtl/parts/more.py").write_text("MORE = 1\n")
    verilated.build(TINY)
    assert len(emitted) == 3


def test_the_harness_is_a_source():
    assert set(verilated.HARNESS.iterdir()) <= set(verilated.sources())


def test_imports_are_followed_wherever_they_stand():
    late = "def late():\n    from ..blocks.gelu import Gelu\n    from . import x"
    text = f"import fqvit_hw.formats\n{late}"
    found = sources.imports("fqvit_hw.rtl.parts", text)
    assert set(found) == {
        ("fqvit_hw.formats", ""), ("fqvit_hw.rtl.blocks.gelu", "Gelu"), ("fqvit_hw.rtl.parts", "x"),
    }  # fmt: skip


def test_a_package_stands_for_its_init_file():
    assert sources.file_of("fqvit_hw.machine") == PACKAGE / "machine" / "__init__.py"
    assert sources.file_of("fqvit_hw.rtl.parts.dot").resolve() == RTL / "parts" / "dot.py"
    assert sources.file_of("fqvit_hw.nothing") is sources.file_of("amaranth.hdl") is None
