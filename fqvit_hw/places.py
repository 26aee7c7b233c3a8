"""Where things lie: beside the package in a checkout, with the user where it is installed.

PACKAGE, RTL, SIM: the package, its Amaranth sources and its benches; in a checkout the latter two
are links to the folders beside fqvit_hw/. CHECKOUT: the checkout, None for an installation.
BUILD: where everything that is made goes; GOLDEN: the golden vectors. Of an installation both are
relative, folders of whatever folder is the current one when they are used: nothing is ever written
into an installation.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
RTL = (PACKAGE / "rtl").resolve()
SIM = (PACKAGE / "sim").resolve()
CHECKOUT = RTL.parent if RTL.parent != PACKAGE else None
BUILD = (CHECKOUT or Path()) / "build"
GOLDEN = (CHECKOUT or Path()) / "golden"
