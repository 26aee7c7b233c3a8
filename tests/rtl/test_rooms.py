"""The arrows between the rooms of rtl/ run down, and none goes to the operators' arithmetic."""

from __future__ import annotations

import pytest

from fqvit_hw.places import RTL
from fqvit_hw.sim.networks.sources import imported

ROOMS = ("parts", "blocks", "accelerator", "flow")  # from the lowest to the highest
FILES = [path for room in ROOMS for path in sorted((RTL / room).glob("*.py"))]
CONSTANTS = ("fqvit_hw.formats", "fqvit_hw.machine.")  # and what rtl/flow's commands need:
COMMANDS = ("fqvit_hw.blocks", "fqvit_hw.command_line", "fqvit_hw.errors", "fqvit_hw.files",
            "fqvit_hw.places")  # fmt: skip


def test_every_room_is_known():
    assert {path.name for path in RTL.iterdir() if (path / "__init__.py").exists()} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_imports_run_down(path):
    room = path.parent.name
    for module in imported(f"fqvit_hw.rtl.{room}.{path.stem}", path):
        top, *inside = module.split(".")
        if top != "fqvit_hw":
            continue
        if inside[0] == "rtl":
            assert ROOMS.index(inside[1]) <= ROOMS.index(room), module
        else:
            assert module.startswith(CONSTANTS + COMMANDS * (room == "flow")), module


def test_no_file_of_parts_and_blocks_is_imported_in_a_circle():
    """Depth first through the imports: a file that is met on its own way is in a circle."""

    def follow(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"{' -> '.join(way)} -> {module}"
        path = RTL.joinpath(*module.split(".")[2:]).with_suffix(".py")
        if module.startswith("fqvit_hw.rtl.") and module not in done and path.exists():
            for inner in imported(module, path):
                follow(inner, (*way, module))
            done.add(module)

    done: set[str] = set()
    for path in FILES:
        follow(f"fqvit_hw.rtl.{path.parent.name}.{path.stem}", ())
    assert len(done) == len(FILES)
