"""What the accelerator computed against what it should have: the first difference, by name.

Expected is the network's own trace, cut into what each instruction makes; got is what the trace
ports showed, a unit's values in order. Differences bear names and indices of the network's tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fqvit_hw.compiler import Program
from fqvit_hw.machine.interpreter import Machine
from fqvit_hw.machine.state import Result


@dataclass(frozen=True)
class Difference:
    """The first value that is wrong; got is None where a value never came."""

    layer: str
    tensor: str
    index: tuple[int, ...]
    expected: int | None
    got: int | None
    instruction: int | None = None

    def __str__(self) -> str:
        place = ", ".join(f"{n}" for n in self.index)
        where = "" if self.instruction is None else f"instruction {self.instruction}, "
        return (
            f"{where}layer {self.layer}, {self.tensor}[{place}]: "
            f"expected {self.expected}, got {'nothing' if self.got is None else self.got}"
        )


def expected_results(qm, program: Program, image: np.ndarray) -> list[Result]:
    """image: uint8 (C, H, W) -> every result of every instruction, in program order.

    The instruction-level simulator makes them; each must be the tensor of the network's own trace
    that the compiler says it is, else ValueError.
    """
    results = []
    Machine(program.hardware, program.memory(image), results.append).run(program.entry)
    trace = qm.trace(image)
    for result in results:
        made = program.made[result.index][result.unit]
        if not np.array_equal(result.values, made.expected(trace)):
            layer = program.names[result.index]
            raise ValueError(f"simulator: instruction {result.index}, {layer}: not {made.tensor}")
    return results


def first_trace_difference(
    program: Program, results: list[Result], trace: dict[str, np.ndarray]
) -> Difference | None:
    """The earliest instruction (in program order) with a wrong value, and the first of these.

    A unit that goes on after its last value differs too, after all others.
    """
    found, surplus = [], None
    for unit, got in trace.items():
        start = 0
        for result in results:
            if result.unit.name.lower() != unit:
                continue
            want = result.in_order.astype(np.int64)
            part = got[start : start + len(want)].astype(np.int64)
            start += len(want)
            if not np.array_equal(part, want):
                found.append(difference(program, result, want, part))
                break
        else:
            if len(got) > start and surplus is None:
                surplus = Difference("none", f"{unit} after its end", (start,), None, got[start])
    return min(found, key=lambda d: d.instruction, default=surplus)


def difference(program: Program, result: Result, want: np.ndarray, got: np.ndarray) -> Difference:
    """want, got: one instruction's values in order of time, the latter perhaps too short."""
    wrong = np.flatnonzero(got != want[: len(got)])
    at = int(wrong[0]) if len(wrong) else len(got)
    shape = result.values.shape
    places = replace(result, values=np.arange(len(want)).reshape(shape)).in_order
    row, column = (int(n) for n in np.unravel_index(places[at], shape))
    made = program.made[result.index][result.unit]
    return Difference(
        program.names[result.index],
        made.tensor,
        (*made.index, made.rows[0] + row, made.columns[0] + column),
        int(want[at]),
        int(got[at]) if at < len(got) else None,
        result.index,
    )


def first_logit_difference(expected: np.ndarray, got: np.ndarray, image: int) -> Difference | None:
    """expected, got: int32 (classes,) of one image."""
    if expected.shape != got.shape:
        raise ValueError(f"logits of shape {got.shape}, expected {expected.shape}")
    wrong = np.flatnonzero(expected != got)
    if not len(wrong):
        return None
    n = int(wrong[0])
    return Difference("head", "logits of image", (image, n), int(expected[n]), int(got[n]))
