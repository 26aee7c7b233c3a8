"""Signal to noise along the network, a PNG."""

from __future__ import annotations

from ..pictures import panels, png

KINDS = {  # the steps that a curve is drawn for; the rest of the trace lies between them
    "residual stream": ("embed", "conv", "reduction", "residual1", "residual2"),
    "layernorm": ("norm1", "norm2", "norm"),
    "attention map": ("softmax",),
    "attention context": ("context",),
    "branch (proj, fc2)": ("patch_embed", "proj", "fc2"),
    "gelu": ("gelu",),
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
    """One panel: a curve per kind of tensor, a vertical line where each block begins."""
    steps = {n: v for n, v in layer_snr.items() if not n.endswith(".normalized")}
    names = list(steps)
    for label, kinds in KINDS.items():
        points = [
            (i, steps[n])
            for i, n in enumerate(names)
            if n.rsplit(".", 1)[-1] in kinds and steps[n] is not None
        ]
        if points:
            axis.plot(*zip(*points, strict=True), marker=".", linewidth=1.2, label=label)
    starts = [i for i, n in enumerate(names) if n.endswith(".norm1")]
    for start in starts:
        axis.axvline(start - 0.5, color="0.88", zorder=0)
    axis.set_xticks(starts, [str(i) for i in range(len(starts))])
    axis.set_ylabel("signal to noise (dB)")
    axis.margins(x=0.01)
    axis.grid(axis="y", alpha=0.4)


def short(name: str) -> str:
    """blocks.3.residual1 -> 3.residual1; layers.2.blocks.1.x -> 2.1.x"""
    return name.replace("layers.", "").replace("blocks.", "")
