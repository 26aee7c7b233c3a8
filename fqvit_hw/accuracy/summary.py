"""From records to figures, and the figures as a table on the screen."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .evaluate import FLOAT, integer_column, reference_column


@dataclass
class Tally:
    """Sums over images of one column beside the float one."""

    images: int = 0
    top1: int = 0
    top5: int = 0
    agree: int = 0  # the same first class as the float model
    only_float: int = 0  # only the float model is right
    only_this: int = 0
    signal: float = 0.0
    error: float = 0.0

    def add(self, record: dict, column: str) -> None:
        real, this = record["top5"][FLOAT], record["top5"][column]
        label = record["label"]
        self.images += 1
        self.top1 += this[0] == label
        self.top5 += label in this
        self.agree += this[0] == real[0]
        self.only_float += real[0] == label != this[0]
        self.only_this += this[0] == label != real[0]
        self.signal += record["signal"]
        self.error += record["error"].get(column, 0.0)

    def figures(self) -> dict:
        """Fractions of 1, standard errors of them, counts, dB.

        change: top-1 minus float's; its standard error is that of the paired difference. The
        logit SNR is None where the logits are equal, or are float's own.
        """
        n, paired = self.images, self.only_float + self.only_this
        change = (self.only_this - self.only_float) / n
        return {
            "images": n,
            "top1": self.top1 / n,
            "top1_se": standard_error(self.top1 / n, n),
            "top5": self.top5 / n,
            "agreement": self.agree / n,
            "agreement_se": standard_error(self.agree / n, n),
            "only_float_right": self.only_float,
            "only_this_right": self.only_this,
            "change": change,
            "change_se": math.sqrt(max(paired / n - change**2, 0.0) / n),
            "logit_snr_db": snr_db(self.signal, self.error),
        }


def standard_error(p: float, n: int) -> float:
    return math.sqrt(p * (1 - p) / n)


def snr_db(signal: float, error: float) -> float | None:
    """10 log10(signal / error); None where there is no error or no signal."""
    return 10 * math.log10(signal / error) if signal and error else None


def summarize(header: dict, records: Iterable[dict]) -> dict:
    """Everything that the records say: float's figures, and each configuration's columns."""
    columns = header["columns"]
    tallies = {column: Tally() for column in columns}
    broken = []
    for record in records:
        if "broken" in record:
            broken.append({"file": record["file"], "reason": record["broken"]})
            continue
        for column, tally in tallies.items():
            tally.add(record, column)
    images = tallies[FLOAT].images
    figures = {c: tally.figures() for c, tally in tallies.items()} if images else {}
    return {
        "header": header,
        "model": header["model"],
        "images": images,
        "skipped": broken,
        "float": figures.get(FLOAT),
        "runs": [
            {
                "configuration": name,
                "config": config,
                "integer": figures.get(integer_column(name)),
                "simulation": header["simulations"][name],
                "reference": figures.get(reference_column(header["simulations"][name])),
            }
            for name, config in header["configurations"].items()
        ],
    }


def simulated(summary: dict) -> dict[str, dict]:
    """The figures of each of the paper's simulations, by its name: configurations share them."""
    return {run["simulation"]: run["reference"] for run in summary["runs"] if run["reference"]}


def table(summary: dict) -> str:
    """What stands on the screen: a line per column."""
    images, skipped = summary["images"], summary["skipped"]
    lines = [f"{summary['model']}: {images} images, {len(skipped)} files skipped"]
    lines += [f"  skipped {s['file']}: {s['reason']}" for s in skipped]
    if not images:
        return "\n".join([*lines, "no image could be scored"])
    rows: list[tuple[str, ...]] = [
        ("", "top-1", "top-5", "agrees with float", "only float/only this right", "logit SNR")
    ]
    rows.append(("float", *cells(summary["float"])[:2], "", "", ""))
    for name, reference in simulated(summary).items():
        rows.append((f"paper's simulation, {name}", *cells(reference)))
    for run in summary["runs"]:
        rows.append((f"integers, {run['configuration']}", *cells(run["integer"])))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for first, *rest in rows:
        padded = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *padded]).rstrip())
    return "\n".join(lines)


def cells(figures: dict) -> tuple[str, ...]:
    return (
        f"{figures['top1']:.2%}",
        f"{figures['top5']:.2%}",
        f"{figures['agreement']:.2%} ± {100 * figures['agreement_se']:.2f}",
        f"{figures['only_float_right']} / {figures['only_this_right']}",
        decibels(figures["logit_snr_db"]),
    )


def layer_table(layers: dict) -> str:
    """Signal to noise, a line per tensor and a column per configuration."""
    columns = {n: c["layer_snr_db"] for n, c in layers["configurations"].items()}
    steps = list(dict.fromkeys(step for column in columns.values() for step in column))
    widths = {name: max(len(name), 8) for name in columns}
    title = f"signal to noise, {layers['images']} images"
    lines = [f"{title:36}" + "".join(f"  {name:>{widths[name]}}" for name in columns)]
    for step in steps:
        shown = (decibels(column[step]) if step in column else "-" for column in columns.values())
        padded = (f"  {c:>{w}}" for c, w in zip(shown, widths.values(), strict=True))
        lines.append(f"{step:36}" + "".join(padded))
    return "\n".join(lines)


def decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f} dB"
