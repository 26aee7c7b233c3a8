"""The registry of blocks: no entry lacks a part, and nothing that should have an entry lacks it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import is_dataclass

import pytest

from fqvit_hw.blocks import BLOCKS, load
from fqvit_hw.machine.hardware import HARDWARE
from fqvit_hw.places import CHECKOUT, GOLDEN, RTL, SIM
from fqvit_hw.rtl.flow.configs import CONFIGS, DEFAULT, blocks_of, component, parameters
from fqvit_hw.vectors import files as vectors
from fqvit_hw.vectors.corners import CORNERS

STANDING_ALONE = [name for name in BLOCKS if name != "accelerator"]


def names(text: str) -> set[str]:
    """The first cells of a Markdown table, in code."""
    return set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


@pytest.mark.parametrize("name", BLOCKS)
def test_every_configuration_makes_the_component(name):
    block = BLOCKS[name]
    assert block.name == name and DEFAULT in block.configurations
    for config in block.configurations:
        assert is_dataclass(parameters(name, config))
        assert type(component(name, config)) is load(block.component)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_has_a_bench(name):
    bench = load(BLOCKS[name].bench)
    assert bench.component is load(BLOCKS[name].component) or name == "accelerator"
    assert set(bench.SMALL) <= set(bench.CONFIGURATIONS) and bench.SMALL
    for configuration in bench.CONFIGURATIONS.values():
        assert type(configuration) is load(BLOCKS[name].parameters)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_bench_has_cases_and_those_of_the_negative_control(name):
    bench, broken = load(BLOCKS[name].bench), BLOCKS[name].broken
    cases = list(bench.transactions(bench.CONFIGURATIONS[bench.SMALL[0]], "small"))
    assert any(case.left_out is None for case in cases)
    if name != "accelerator":  # its cases are programs
        golden = {case.name for case in vectors.load(GOLDEN, BLOCKS[name].golden)}
        assert golden & {case.name for case in cases}, "the bench runs no golden case"
        assert any(case.cycles for case in cases), "no case of the bench has exact cycles"
    assert broken.what and broken.case in {None, *(case.name for case in cases)}
    re.compile(broken.pattern)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_has_golden_cases(name):
    block = BLOCKS[name]
    units = {entry["unit"] for entry in vectors.load_manifest(GOLDEN)["cases"]}
    assert block.golden in units, f"{block.golden} is not in golden/: make golden"
    golden = {case.name for case in vectors.load(GOLDEN, block.golden)}
    if block.unit is None:
        assert name == "accelerator" and block.golden == "network"
        return
    assert callable(load(block.unit))
    corners = {case.name for case in CORNERS[block.golden]()}
    assert corners and corners <= golden


def test_the_registry_is_complete():
    stems = {path.stem for path in (RTL / "blocks").glob("*.py")} - {"__init__"}
    assert stems == set(BLOCKS) - {"accelerator"}, "rtl/blocks/ and fqvit_hw/blocks.py differ"
    units = {entry["unit"] for entry in vectors.load_manifest(GOLDEN)["cases"]}
    assert units == {block.golden for block in BLOCKS.values()}
    benches = {path.stem for path in (SIM / "blocks").glob("*.py")}
    assert set(BLOCKS) <= benches


def test_every_configuration_has_an_accelerator():
    assert set(CONFIGS) == set(HARDWARE)
    assert blocks_of("large") == ("accelerator",)
    for name in ("tiny", "base", "ecp5_85k"):
        assert blocks_of(name) == tuple(BLOCKS)
        assert parameters("accelerator", name) == HARDWARE[name]


@pytest.mark.skipif(CHECKOUT is None, reason="the documents are those of a checkout")
@pytest.mark.parametrize("name", STANDING_ALONE)
def test_the_documents_name_the_block(name):
    page = names((CHECKOUT / "golden" / "README.md").read_text())
    assert BLOCKS[name].golden in page, "no row in golden/README.md"
    page = names((CHECKOUT / "README.md").read_text())
    assert name in page, "no row in README.md: SHAPES in docs/figures/blocks.py, make readme"


@pytest.mark.skipif(CHECKOUT is None, reason="the documents are those of a checkout")
def test_the_table_of_the_golden_vectors_names_nothing_else():
    page = names((CHECKOUT / "golden" / "README.md").read_text())
    assert page == {block.golden for block in BLOCKS.values()}


@pytest.mark.skipif(CHECKOUT is None, reason="the tests are those of a checkout")
@pytest.mark.parametrize("name", STANDING_ALONE)
def test_a_block_and_its_unit_have_tests(name):
    for path in (f"tests/units/test_{BLOCKS[name].golden}.py", f"tests/rtl/blocks/test_{name}.py"):
        assert "def test_" in (CHECKOUT / path).read_text(), path


def test_the_registry_needs_neither_amaranth_nor_torch():
    code = (
        "import sys, fqvit_hw.vectors.corners\n"
        "assert not {'amaranth', 'cocotb', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
