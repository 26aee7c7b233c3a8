"""The cycle model's constants are those of the RTL; its cycles are compared in tests/sim."""

from __future__ import annotations

import pytest

from fqvit_hw import cycles
from fqvit_hw.compiler import compile_network
from fqvit_hw.compiler.shapes import VIT, blank
from fqvit_hw.digits import load
from fqvit_hw.hardware import BASE, HARDWARE
from rtl.codes import Codes
from rtl.epilogue import EpilogueUnit
from rtl.gemm import ROOM, Gemm
from rtl.norm import FEED, Norm
