"""Where things lie: beside the package in a checkout, inside it or with the user when installed.

RTL, SIM: the folders of the Amaranth sources and of the benches, whichever way they are reached.
BUILD: where everything that is made goes; never inside an installation.
GOLDEN: the golden vectors.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
RTL = (PACKAGE / "rtl").resolve()  # in a checkout a link to rtl/ beside fqvit_hw/
SIM = (PACKAGE / "sim").resolve()
# The checkout, or None for an installed wheel: there the folders are the package's own.
CHECKOUT = RTL.parent if RTL.parent != PACKAGE else None
BUILD = (CHECKOUT or Path.cwd()) / "build"
GOLDEN = (CHECKOUT or PACKAGE) / "golden"
