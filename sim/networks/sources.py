"""The files that a module is made from: its own, and those of all that it imports in the kit."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fqvit_hw.places import PACKAGE

NAME = "fqvit_hw"


def file_of(module: str) -> Path | None:
    """The file of a module of the kit; None for one of somebody else, or what is no module."""
    top, *inside = module.split(".")
    if top != NAME:
        return None
    base = PACKAGE.joinpath(*inside)
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def imports(package: str, text: str) -> tuple[tuple[str, str], ...]:
    """(module, name in it or "") of every import in `text`, inside of functions too.

    package: what relative imports are relative to.
    """
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -(node.level - 1) or None] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found += [(module, alias.name) for alias in node.names]
    return tuple(found)


def imported(module: str, path: Path) -> Iterator[str]:
    """The modules of the kit that `module` imports by name.

    The packages above them are run too; what those import for their own sake does not count.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for source, name in imports(package, path.read_text()):
        inner = f"{source}.{name}"
        yield inner if name and file_of(inner) else source


def closure(module: str) -> list[Path]:
    """The files of `module` and of all modules of the kit that it imports, sorted."""
    files: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = file_of(name)
        if path is not None and name not in files:
            files[name] = path
            waiting += imported(name, path)
    return sorted(files.values())
