"""Stored results in, Markdown out."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
WIDTH = 120  # columns of a paragraph
MODELS = {
    "deit_tiny": "DeiT-Tiny",
    "deit_small": "DeiT-Small",
    "swin_tiny": "Swin-Tiny",
    "digits": "digits",
}


def stored(name: str):
    """docs/results/<name>.json"""
    return json.loads((RESULTS / f"{name}.json").read_text())


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def sentence(*parts: str) -> str:
    """A paragraph; its parts are joined by spaces."""
    return textwrap.fill(" ".join(parts), WIDTH, break_long_words=False, break_on_hyphens=False)


def span(ends: list[float]) -> str:
    return " to ".join(str(end) for end in ends)
