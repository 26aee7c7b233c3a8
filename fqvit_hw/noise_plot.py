"""The picture of `fqvit-hw accuracy`: signal to noise along the network, per configuration."""

from __future__ import annotations

import io

KINDS = {  # the steps that a curve is drawn for; the rest of the trace lies between them
    "residual stream": ("embed", "residual1", "residual2"),
    "layernorm": ("norm1", "norm2", "norm"),
    "attention map": ("softmax",),
    "attention context": ("context",),
    "branch (proj, fc2)": ("patch_embed", "proj", "fc2"),
    "gelu": ("gelu",),
}


def noise_png(model: str, runs: list[dict]) -> bytes:
    """runs: summaries of `accuracy` -> PNG. The x axis is the order of the data flow."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(runs), 1, figsize=(11, 4 * len(runs)), sharex=True, squeeze=False, layout="constrained"
    )
    for axis, run in zip(axes[:, 0], runs, strict=True):
        draw(axis, run)
        snr = run["logit_snr_db"]
        axis.set_title(
            f"{model}, {run['configuration']} configuration: logits "
            f"{'exact' if snr is None else f'{snr:.1f} dB'}, top-1 {run['integer_top1']:.1%} "
            f"(float {run['float_top1']:.1%})"
        )
    axes[0, 0].legend(loc="upper right", ncols=3, fontsize=8)
    axes[-1, 0].set_xlabel("block (left of 0: embedding)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return buffer.getvalue()


def draw(axis, run: dict) -> None:
    """One panel: a curve per kind of tensor, a vertical line where each block begins."""
    steps = {n: v for n, v in run["layer_snr_db"].items() if not n.endswith(".normalized")}
    names = list(steps)
    for label, kinds in KINDS.items():
        points = [
            (i, steps[n])
            for i, n in enumerate(names)
            if n.rsplit(".", 1)[-1] in kinds and steps[n] is not None
        ]
        axis.plot(*zip(*points, strict=True), marker=".", label=label)
    starts = [i for i, n in enumerate(names) if n.endswith(".norm1")]
    for start in starts:
        axis.axvline(start - 0.5, color="0.85", zorder=0)
    axis.set_xticks(starts, [str(i) for i in range(len(starts))])
    axis.set_ylabel("signal to noise (dB)")
    axis.grid(axis="y", alpha=0.4)
