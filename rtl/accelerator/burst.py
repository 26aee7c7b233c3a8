"""The next burst of a copy, sized in steps: how long, is there room for it, ask."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from fqvit_hw.formats import ceil_log2
from fqvit_hw.machine.hardware import Hardware

STEPS = 2  # cycles from the first one of `at` and `left` to the burst's request


@dataclass(frozen=True)
class Burst:
    """beats: of the burst, up to the next multiple of BURST_BYTES; final: they are the rest of the
    line; ready: they are known, and as many are at hand.
    """

    beats: Signal
    final: Signal
    ready: Signal

    @classmethod
    def of(
        cls, m: Module, hw: Hardware, at: Value, left: Value, at_hand: Value, changed: Value
    ) -> Burst:
        """at: the first beat in memory; left: beats of the line from there on.

        at_hand: how many beats may be asked for; grows as long as none is asked for.
        changed: in the next cycle `at` and `left` are others.
        """
        beats, final, ready = Signal(range(hw.burst + 1)), Signal(), Signal()
        here = Signal(range(hw.burst + 1))
        sized, enough = Signal(STEPS), Signal()
        m.d.comb += [here.eq(hw.burst - at[: ceil_log2(hw.burst)]), ready.eq(sized[-1] & enough)]
        m.d.sync += [
            beats.eq(Mux(left < here, left, here)),
            final.eq(left <= here),
            enough.eq(at_hand >= beats),
            sized.eq(Mux(changed, 0, Cat(Const(1), sized))),
        ]
        return cls(beats, final, ready)
