"""One run of a program: the units side by side, each with a time of its own."""

from __future__ import annotations

from dataclasses import dataclass

from ..machine.hardware import Hardware
from ..machine.isa import Instruction
from .array import Array, GemmRun
from .copies import Loads, Stores
from .norm import Norm
from .sequencer import Sequencer
from .shared import Shared
from .weights import Weights


@dataclass(frozen=True)
class Prediction:
    """cycles: from start to done; gemms: in order; bytes as the counters count them."""

    cycles: int
    gemms: list[GemmRun]
    bytes_read: int
    bytes_written: int
    bytes_weights: int

    @property
    def busy(self) -> int:
        """Beats of the array."""
        return sum(gemm.busy for gemm in self.gemms)


def run(instructions: list[Instruction], hw: Hardware, latency: int) -> Prediction:
    """Raises RuntimeError if the program waits for what never comes."""
    shared = Shared(hw, latency)
    sequencer, weights, array = Sequencer(shared, instructions), Weights(shared), Array(shared)
    norm, loads, stores = Norm(shared), Loads(shared), Stores(shared)
    for process in (
        sequencer.work(), weights.requests(), weights.unpack(), array.work(), norm.work(),
        loads.requests(), loads.writes(), stores.work(),
    ):  # fmt: skip
        shared.scheduler.resume(process, 0)
    shared.scheduler.run()
    while shared.free.waiting:  # the array waits for the STORE that waits for it: it is idle
        wanted, _ = shared.free.waiting[0]
        array.spare(wanted - shared.free.total)
        shared.scheduler.run()
    if not sequencer.end:
        raise RuntimeError("the program waits for a count that no unit reaches")
    read = shared.bus.beats * hw.bus_bytes
    return Prediction(sequencer.end, array.runs, read, stores.bytes, weights.bytes)
