"""The rooms of the code: imports run down the list in CONTRIBUTING.md, never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up: a room imports from rooms before it only. A module beside the rooms counts as
# a room of its own.
FLOORS = (
    "fqvit_hw.formats fqvit_hw.errors fqvit_hw.places fqvit_hw.paper_models",
    "fqvit_hw.attention_codes",
    "fqvit_hw.files fqvit_hw.command_line fqvit_hw.pictures fqvit_hw.config fqvit_hw.timm_compat",
    "fqvit_hw.units",
    "fqvit_hw.network fqvit_hw.machine",
    "fqvit_hw.compiler fqvit_hw.cycles fqvit_hw.engines fqvit_hw.blocks",
    "fqvit_hw.model fqvit_hw.sweep",
    "fqvit_hw.calibrate fqvit_hw.data",
    "fqvit_hw",
    "fqvit_hw.reference fqvit_hw.vectors fqvit_hw.zoo",
    "fqvit_hw.accuracy",
    "fqvit_hw.report",
    "rtl.parts",
    "rtl.blocks",
    "rtl.accelerator",
    "rtl.flow",
    "fqvit_hw.commands",
    "sim.bus",
    "sim.networks",
    "sim.blocks sim.perf",
    "sim.mutants",
    "sim",
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}


def sources() -> list[Path]:
    """The modules of fqvit_hw/, rtl/ and sim/; the links inside fqvit_hw/ are not followed."""
    return [
        path
        for top in ("fqvit_hw", "rtl", "sim")
        for path in sorted((ROOT / top).rglob("*.py"))
        if not any(parent.is_symlink() for parent in path.parents)
    ]


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


MODULES = {module_of(path): path for path in sources()}


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """The kit's modules that a module imports, wherever in it, by their place in the tree."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [(tuple(alias.name.split(".")), None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            start += tuple(node.module.split(".")) if node.module else ()
            found = [(start, alias.name) for alias in node.names]
        else:
            continue
        for name, member in found:
            if name[:2] in (("fqvit_hw", "rtl"), ("fqvit_hw", "sim")):
                name = name[1:]
            inside = (*name, member)
            if inside in MODULES:
                yield inside
            elif name in MODULES:  # not the module that only the copies of sim.mutants have
                yield name


def room_of(module: tuple[str, ...]) -> str:
    return ".".join(module[:2])


def test_every_module_has_a_room():
    homeless = {room_of(module) for module in MODULES} - FLOOR.keys() - {"rtl", "sim.__main__"}
    assert homeless <= {"fqvit_hw.__main__"}


def test_imports_run_down():
    wrong = []
    for name, path in MODULES.items():
        here = room_of(name)
        for module in imported(path):
            there = room_of(module)
            if there != here and FLOOR[there] >= FLOOR.get(here, len(FLOORS)):
                wrong.append(f"{'.'.join(name)} imports {'.'.join(module)}")
    assert not wrong


def test_no_circle_of_modules():
    graph = {module: set(imported(path)) - {module} for module, path in MODULES.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(".".join(module) for module in error.args[1]))


def test_a_circle_would_be_found(tmp_path, monkeypatch):
    path = tmp_path / "fqvit_hw" / "units" / "gelu.py"
    path.parent.mkdir(parents=True)
    path.write_text("def late():\n    from ..engines import walk\n    from fqvit_hw.rtl import x\n")
    monkeypatch.setattr("tests.test_rooms.ROOT", tmp_path)
    assert list(imported(path)) == [("fqvit_hw", "engines", "walk"), ("rtl",)]
