"""The points of a sweep as a picture: cycles, utilization and traffic over multipliers."""

from __future__ import annotations

from ..paper_models import PAPER_MODELS, Family
from ..pictures import panels, png
from .page import title
from .points import SHAPES, Point


def picture(points: list[Point]) -> bytes:
    """Cycles, utilization and traffic over multipliers, a line a model; Swin's are dashed."""

    figure, axes = panels(3, 4.6, columns=3)
    panes = (
        ("million cycles an image", lambda p: p.cycles / 1e6, "log"),
        ("utilization of the array, %", lambda p: 100 * p.utilization, "linear"),
        ("MB read and written an image", lambda p: (p.bytes_read + p.bytes_written) / 1e6, "log"),
    )
    models = [name for name in dict.fromkeys(p.model for p in points) if name != "vit_base"]
    for axis, (label, value, scale) in zip(axes, panes, strict=True):
        for n, name in enumerate(models):
            mine = [p for p in points if p.model == name and not p.refused]
            text = "DeiT-B, ViT-B" if name == "deit_base" else title(name)
            axis.plot(
                [p.hardware.multipliers for p in mine], [value(p) for p in mine], marker="o",
                markersize=4, linewidth=1.5, color=f"C{n}", label=text,
                linestyle="--" if PAPER_MODELS[name].family is Family.SWIN else "-",
            )  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.set_yscale(scale)
        axis.set_title(label, fontsize=10)
        axis.set_xlabel("multipliers")
        shapes = [hw for hw in SHAPES if any(p.shape == hw.name for p in points)]
        ticks = [f"{hw.multipliers}\n{hw.rows}x{hw.cols}" for hw in shapes]
        axis.set_xticks([hw.multipliers for hw in shapes], ticks, fontsize=6)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[1].set_ylim(0, 100)
    axes[0].legend(fontsize=7, frameon=False)
    return png(figure)
