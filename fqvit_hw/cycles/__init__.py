"""The cycle model: when each unit of the accelerator does what, without a clock.

Every unit is a process that works through its instructions in order and keeps its own time. What
units know of each other are counts (`Count`): rows finished, tiles loaded, instructions taken; a
process that needs count n goes on at the time at which n was reached. All rows of a pass of a GEMM
are computed at once, as numpy arrays of times, so that a whole DeiT takes a second.

The constants are those of the RTL; `tests/cycles/test_cycles.py` holds both together.
"""

from __future__ import annotations

from ..machine.hardware import Hardware
from ..machine.isa import Instruction
from .array import GemmRun
from .model import Prediction, run

__all__ = ["GemmRun", "Prediction", "predict"]


def predict(instructions: list[Instruction], hw: Hardware, latency: int = 100) -> Prediction:
    """Cycles of a program from start to done, with an AXI memory of `latency` cycles.

    Raises RuntimeError if the program waits for what never comes.
    """
    return run(instructions, hw, latency)
