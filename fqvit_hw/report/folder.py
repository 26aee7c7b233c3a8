"""Reads what `fqvit-hw accuracy` left in a folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..accuracy.results import FORMAT, VERSION, check_header, read_results
from ..accuracy.summary import summarize
from ..errors import UserError
from .content import tables


def read_folder(folder: Path) -> list[dict]:
    """Every measurement in the folder, by file name; each gains "source", the file.

    Figures come from the records where there are some (an interrupted run has no summary), what
    was collected of the layers from the summary. Files of others are named and left alone.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of results")
    found = {}
    for path in sorted(folder.glob("*.json")):
        summary = read_summary(path)
        if summary:
            found[path.stem] = summary | {"source": path.name}
    for path in sorted(folder.glob("*.jsonl")):
        try:
            header, records = read_results(path)
            summary = checked(path, summarize(header, records))
        except UserError as error:
            print(f"fqvit-hw: left out {error}", file=sys.stderr)
            found.pop(path.stem, None)  # its summary is no better
            continue
        same = found.get(path.stem, {})
        layers = same.get("layers") if same.get("header") == header else None
        found[path.stem] = summary | {"source": path.name, "layers": layers}
    usable = [summary for _, summary in sorted(found.items()) if summary["images"]]
    if not usable:
        raise UserError(f"{folder}: no measurements of fqvit-hw accuracy (--results, --json) in it")
    return usable


def read_summary(path: Path) -> dict | None:
    """The content of a summary, None for another JSON file."""
    try:
        summary = json.loads(path.read_text())
        header = summary["header"]
        if (header["format"], header["version"]) == (FORMAT, VERSION):
            return checked(path, summary)
        why = f"{path}: of version {header['version']}"
    except UserError as error:
        why = error
    except (ValueError, KeyError, TypeError):
        why = f"{path}: not a summary of fqvit-hw accuracy"
    print(f"fqvit-hw: left out {why}", file=sys.stderr)
    return None


def checked(path: Path, summary: dict) -> dict:
    """The summary, from which all tables can be made. Raises UserError naming the file."""
    try:
        check_header(summary["header"])
        if summary["images"]:
            tables(summary)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: a damaged summary: {type(error).__name__}: {error}") from error
    return summary
