"""Pictures of a measurement, each a PNG: ranges, power-of-two factors, attention codes.

Each takes the summary that `fqvit-hw accuracy` writes, with its "layers".
"""

from __future__ import annotations

import numpy as np

from ..formats import PTF_MAX, ZERO_CODE
from ..network.steps import steps_of_names
from ..pictures import panels, png

FACTOR_COLOURS = ("#c9d3e0", "#7fb2d9", "#2d7cb8", "#0b3a67")  # factors 0 to 3


def with_factors(summary: dict) -> dict[str, dict[str, list[int]]]:
    """The factors of each configuration that has some."""
    layers = summary["layers"]["configurations"]
    return {name: layer["ptf_factors"] for name, layer in layers.items() if layer["ptf_factors"]}


def ranges_png(summary: dict) -> bytes:
    """Four LayerNorm inputs from first to last: the range of every channel, by its factor."""
    ranges = summary["layers"]["ranges"]
    names = list(ranges)
    shown = [names[i] for i in sorted({round(i) for i in np.linspace(0, len(names) - 1, 4)})]
    chosen = with_factors(summary)
    configuration, factors = next(iter(chosen.items())) if chosen else ("", {})
    figure, axes = panels(len(shown), 2.9, columns=2)
    for axis, name in zip(axes, shown, strict=False):
        low, high = (np.asarray(ranges[name][end]) for end in ("low", "high"))
        order = np.argsort(high - low)
        colours = np.asarray(factors.get(name, np.zeros(len(low), int)))[order]
        x = np.arange(len(low))
        for factor in range(PTF_MAX + 1):
            at = colours == factor
            axis.vlines(
                x[at], low[order][at], high[order][at],
                color=FACTOR_COLOURS[factor], linewidth=max(0.6, 330 / len(low)),
            )  # fmt: skip
        widest, usual = float(np.max(high - low)), float(np.median(high - low))
        axis.set_yscale("symlog", linthresh=10.0 ** np.floor(np.log10(max(usual, 1e-6))))
        axis.set_title(f"{name}: widest {widest:.3g}, median {usual:.3g}", loc="left", fontsize=10)
        axis.set_xlabel("channels, narrowest first")
        axis.margins(x=0.01)
        axis.axhline(0, color="0.4", linewidth=0.5)
    if factors:
        figure.legend(
            handles=factor_handles(), loc="outside lower center", ncols=PTF_MAX + 1, fontsize=9,
            frameon=False, title=f"factor, {configuration}",
        )  # fmt: skip
    return png(figure)


def factor_handles():
    from matplotlib.patches import Patch

    return [Patch(color=c, label=f"× {1 << a}") for a, c in enumerate(FACTOR_COLOURS)]


def factors_png(summary: dict) -> bytes:
    """Stacked bars: the share of channels with each factor, a bar per LayerNorm input."""
    chosen = with_factors(summary)
    figure, axes = panels(len(chosen), 2.6)
    for axis, (configuration, factors) in zip(axes, chosen.items(), strict=True):
        steps, bottom = steps_of_names(factors).by_tensor, np.zeros(len(factors))
        names = [steps[name].label for name in factors]
        for a in range(PTF_MAX + 1):
            share = np.array([np.mean(np.asarray(f) == a) for f in factors.values()])
            axis.bar(range(len(names)), share, bottom=bottom, color=FACTOR_COLOURS[a], width=0.85)
            bottom += share
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axis.margins(x=0.01)
        axis.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axis.set_title(configuration, loc="left", fontsize=10)
    figure.legend(
        handles=factor_handles(), loc="outside lower center", ncols=PTF_MAX + 1, fontsize=9,
        frameon=False,
    )  # fmt: skip
    return png(figure)


def codes_png(summary: dict) -> bytes:
    """A map per configuration: a row per attention map, a column per code, its share as shade."""
    from matplotlib.colors import LogNorm

    layers = summary["layers"]["configurations"]
    depth = max(len(layer["attention_codes"]) for layer in layers.values())
    figure, axes = panels(len(layers), 1.4 + 0.2 * depth, columns=min(2, len(layers)))
    for axis, (configuration, layer) in zip(axes, layers.items(), strict=False):
        counts = np.array(list(layer["attention_codes"].values()), float)
        share = counts / counts.sum(1, keepdims=True)
        image = axis.imshow(share, aspect="auto", cmap="Blues", norm=LogNorm(1e-4, 1, clip=True))
        axis.set_xticks(range(ZERO_CODE + 1), [*map(str, range(ZERO_CODE)), "zero"], fontsize=8)
        blocks = steps_of_names(layer["layer_snr_db"]).blocks  # a map each
        axis.set_yticks(range(len(blocks)), [block.label for block in blocks], fontsize=7)
        axis.set_title(configuration, loc="left", fontsize=10)
        axis.set_xlabel("code")
    bar = figure.colorbar(image, ax=axes, shrink=0.7, label="share of the codes")
    bar.ax.set_yticks([1, 0.1, 0.01, 1e-3, 1e-4], ["100 %", "10 %", "1 %", "0.1 %", "≤ 0.01 %"])
    return png(figure)
