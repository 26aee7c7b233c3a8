"""Signal to noise along the network, a PNG."""

from __future__ import annotations

from ..network.step import Role
from ..network.steps import steps_of_names
from ..pictures import panels, png

CURVES = {  # the rest of the trace lies between them
    "residual stream": Role.STREAM,
    "layernorm": Role.NORMED,
    "attention map": Role.PROBABILITY,
    "attention context": Role.CONTEXT,
    "branch (proj, fc2)": Role.BRANCH,
    "gelu": Role.ACTIVATION,
}


def noise_png(summary: dict) -> bytes:
    """Signal to noise along the network, a panel per configuration."""
    runs = {run["configuration"]: run["integer"] for run in summary["runs"]}
    layers = summary["layers"]["configurations"]
    figure, axes = panels(len(layers), 3.6, sharex=True, sharey=True)
    for axis, (name, layer) in zip(axes, layers.items(), strict=True):
        draw_noise(axis, layer["layer_snr_db"])
        snr = runs[name]["logit_snr_db"]
        axis.set_title(
            f"{name}: logits {'exact' if snr is None else f'{snr:.1f} dB'}, top-1 "
            f"{runs[name]['top1']:.1%} (float {summary['float']['top1']:.1%})",
            loc="left",
        )
    axes[0].legend(loc="upper right", ncols=3, fontsize=8)
    axes[-1].set_xlabel("block (left of 0: embedding)")
    return png(figure)


def draw_noise(axis, layer_snr: dict[str, float | None]) -> None:
    """One panel: a curve per kind of tensor, a vertical line where each block begins.

    layer_snr: by name of the tensor, as measured. A context appears as its codes alone.
    """
    steps = steps_of_names(layer_snr)
    shown = [step for step in steps if step.name in layer_snr]
    for label, role in CURVES.items():
        points = [
            (i, layer_snr[step.name])
            for i, step in enumerate(shown)
            if step.role is role and layer_snr[step.name] is not None
        ]
        if points:
            axis.plot(*zip(*points, strict=True), marker=".", linewidth=1.2, label=label)
    starts = [shown.index(block.norm1) for block in steps.blocks]
    for start in starts:
        axis.axvline(start - 0.5, color="0.88", zorder=0)
    axis.set_xticks(starts, [str(i) for i in range(len(starts))])
    axis.set_ylabel("signal to noise (dB)")
    axis.margins(x=0.01)
    axis.grid(axis="y", alpha=0.4)
