"""`fqvit-hw report RESULTS`: read what `fqvit-hw accuracy` left in a folder, write the page."""

from __future__ import annotations

from pathlib import Path

from ..files import check_folder, write_file
from ..report.content import build
from ..report.folder import read_folder
from ..report.page import to_html, to_markdown

PICTURES = "report_pictures"  # the folder of the Markdown page's pictures


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "report",
        help="one page of all measurements in a folder (needs matplotlib)",
        description="Writes report.html, which needs nothing beside it, and report.md.",
    )
    parser.add_argument("results", type=Path, metavar="DIR", help="*.jsonl and *.json of accuracy")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: the same folder")
    parser.set_defaults(run=run)


def run(args) -> None:
    summaries = read_folder(args.results)
    out = args.out or args.results
    check_folder(out)
    parts = build(summaries)
    for part in parts:
        if part.png:
            write_file(out / PICTURES / f"{part.name}.png", part.png)
    write_file(out / "report.md", to_markdown(parts, PICTURES).encode())
    write_file(out / "report.html", to_html(parts).encode())
    print(f"{out / 'report.html'}, {out / 'report.md'}: {len(summaries)} measurements")
