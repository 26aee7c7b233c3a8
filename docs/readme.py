"""`make readme`: writes the figures into README.md and docs/ again.

    python docs/readme.py [--check]

Between `<!-- figures: NAME -->` and `<!-- /figures -->` stands what the function NAME of
docs/figures.py gives; the rest of a page is left alone. With --check nothing is written: exit
status 1 and a line for each page that is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from figures import FIGURES, ROOT

BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n)(.*?)(<!-- /figures -->)", re.DOTALL)
OPENING = "<!-- figures:"


def pages() -> list[Path]:
    """All Markdown files that may hold figures."""
    return [ROOT / "README.md", ROOT / "golden" / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def renewed(text: str) -> str:
    """The page with all of its figures made again. Raises ValueError for a damaged marker."""
    if text.count(OPENING) != len(BLOCK.findall(text)) or text.count(OPENING) != text.count(
        "<!-- /figures -->"
    ):
        raise ValueError("a marker of figures is damaged or not closed")

    def made(match: re.Match[str]) -> str:
        opening, name, _, closing = match.groups()
        if name not in FIGURES:
            raise ValueError(f"no figures {name!r}; there are {', '.join(FIGURES)}")
        return f"{opening}{FIGURES[name]()}\n{closing}"

    return BLOCK.sub(made, text)


def stale() -> dict[Path, str]:
    """Pages whose figures are not those of today, with the text that they should have."""
    found = {}
    for page in pages():
        text = page.read_text()
        try:
            new = renewed(text)
        except ValueError as error:
            raise ValueError(f"{page.relative_to(ROOT)}: {error}") from error
        if new != text:
            found[page] = new
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if it would")
    options = parser.parse_args(arguments)
    found = stale()
    for page, text in found.items():
        if not options.check:
            page.write_text(text)
        print(f"{page.relative_to(ROOT)}: {'stale: make readme' if options.check else 'written'}")
    return 1 if options.check and found else 0


if __name__ == "__main__":
    sys.exit(main())
