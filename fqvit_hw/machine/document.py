"""Writes the tables of this folder into docs/accelerator.md, between their marks.

`python -m fqvit_hw.machine.document` does it; the instruction set has a page of its own (`isa`).
"""

from __future__ import annotations

import sys

from ..attention_codes import LIS4
from ..places import CHECKOUT
from . import layouts, registers
from .hardware import HARDWARE

END = "<!-- end -->"


def modes() -> str:
    """The attention modes of the configurations."""
    lines = ["| configuration | modes | BitShift of `lis4` |", "|---|---|---|"]
    forms = {
        True: "a shifter in every cell",
        False: "2^(14 - code) as the operand of the cell's multiplier",
    }
    for hw in HARDWARE.values():
        form = forms[hw.shifters] if LIS4 in hw.attention else ""
        lines.append(f"| `{hw.name}` | {', '.join(f'`{mode}`' for mode in hw.modes)} | {form} |")
    return "\n".join(lines) + "\n"


TABLES = {
    "modes": modes,
    "layouts": layouts.document,
    "registers": registers.document,
}


def current(text: str) -> str:
    """The page with its tables as they are. Raises ValueError where it has no place for one."""
    for name, document in TABLES.items():
        begin = f"<!-- {name}: made by python -m fqvit_hw.machine.document -->\n"
        if text.count(begin) != 1:
            raise ValueError(f"expected one line {begin.strip()}, found {text.count(begin)}")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{document()}\n{END}{rest.partition(END)[2]}"
    return text


def main() -> int:
    if CHECKOUT is None:
        print("document: an installed package has no docs/", file=sys.stderr)
        return 2
    page = CHECKOUT / "docs" / "accelerator.md"
    page.write_text(current(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
