"""The array's cycles by layer, busy and stalled: a picture from what the trace ports counted."""

from __future__ import annotations

import re

import numpy as np

from fqvit_hw.machine.isa import Opcode, Unit
from fqvit_hw.pictures import panels, png

# counter -> (index in Run.array, its label, its colour); what the array waits for
STALLS = {
    "weights": (2, "weights", "#d95f02"),
    "activations": (3, "activations", "#e6ab02"),
    "layernorm": (4, "LayerNorm", "#7570b3"),
    "softmax": (5, "softmax", "#e7298a"),
    "epilogue": (6, "epilogue", "#66a61e"),
    "idle": (0, "nothing to do", "#888888"),
}
BUSY = 1  # index in Run.array
WAITS = {  # index in Run.array while rows wait for a unit
    **dict.fromkeys((Unit.LOAD, Unit.STORE, Unit.ARRAY, Unit.EPILOGUE), 3),
    Unit.NORM: 4,
    Unit.CODES: 5,
}
PARTS = {"qkv": "qkv", "attn": "attention", "proj": "proj", "fc1": "mlp", "fc2": "mlp"}


def layer_of(name: str) -> tuple[str, str]:
    """Name of a GEMM's layer -> the group on the axis and the bar in it."""
    block = re.match(r"blocks\.(\d+)\.(\w+)", name)
    if block:
        return f"block {block[1]}", PARTS[block[2]]
    return name, ""


def layers(measured) -> dict[tuple[str, str], np.ndarray]:
    """Cycles int64 (8,) in each state, by (group, bar), in the network's order.

    The host records a few cycles more than the machine counts, before it starts: they come off.
    The trace counts the wait for the first row of a GEMM with the GEMM before, which here gives
    it back: all waits for other units than those that its own rows wait for.
    """
    run, program = measured.run, measured.program
    numbers = [n for n, i in enumerate(program.instructions) if i.opcode is Opcode.GEMM]
    gemms = [program.instructions[n] for n in numbers]
    names = [layer_of(program.names[n]) for n in numbers]
    states = np.array(run.array, dtype=np.int64)
    if len(states) != 1 + len(names):
        raise RuntimeError(f"{len(names)} GEMMs, but the trace shows {len(states) - 1}")
    states[0, 0] -= states.sum() - run.counters["cycles"]
    given = np.zeros_like(states)
    for n, gemm in enumerate([None, *gemms[:-1]]):
        own = gemm and WAITS.get(Unit(gemm.wait0_unit))
        others = sorted({*WAITS.values()} - {own})
        given[n, others] = states[n, others]
    states[1:] += given[:-1]
    states -= given
    order = [("start", ""), *dict.fromkeys(names)]
    sums = {key: np.zeros(8, np.int64) for key in order}
    for key, row in zip([("start", ""), *names], states, strict=True):
        sums[key] += row
    return sums


def layers_png(measured) -> bytes:
    """Above: all cycles of each layer. Below: only those in which the array stood still."""
    sums = layers(measured)
    case, r = measured.case, measured.report
    places, at, groups = [], 0.0, {}
    for n, (group, _) in enumerate(sums):
        at += 1.0 if n == 0 or group in groups else 1.8
        places.append(at)
        groups.setdefault(group, []).append(at)
    columns = np.array(list(sums.values())).T / 1000
    figure, (whole, stalled) = panels(2, 3.4, sharex=True)
    whole.bar(places, columns[BUSY], 0.9, color="#1f78b4", label="busy")
    top, low = columns[BUSY].copy(), np.zeros(len(places))
    for name, (state, label, colour) in STALLS.items():
        label = f"{label} ({r['stalled'][name]:,})"
        whole.bar(places, columns[state], 0.9, bottom=top, color=colour)
        stalled.bar(places, columns[state], 0.9, bottom=low, color=colour, label=label)
        top, low = top + columns[state], low + columns[state]
    whole.set_title(
        f"{case.network} on {case.name}: {r['cycles']:,} cycles, {r['busy']:,} of them busy; "
        f"utilization {r['utilization']:.2%}",
        loc="left",
    )
    whole.legend(loc="upper right", ncols=1, fontsize=8)
    whole.set_ylabel("thousand cycles, all")
    stalled.set_ylabel("thousand cycles, stalled")
    stalled.legend(title="stalled on (cycles)", loc="upper center", ncols=3, fontsize=8)
    for axis, height in ((whole, top), (stalled, low)):
        axis.grid(axis="y", alpha=0.4)
        axis.set_axisbelow(True)
        axis.set_xlim(places[0] - 1, places[-1] + 1)
        axis.set_ylim(0, 1.25 * max(height.max(), 0.001))
    stalled.set_xticks(places, [bar or group for group, bar in sums], rotation=90, fontsize=6)
    names = stalled.secondary_xaxis(-0.28)
    names.set_xticks(
        [np.mean(at) for at in groups.values()],
        [name.removeprefix("block ") if name.startswith("block") else "" for name in groups],
    )
    names.set_xlabel("block")
    names.tick_params(length=0)
    names.spines["bottom"].set_visible(False)
    return png(figure)
