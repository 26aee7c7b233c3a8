"""Pictures of a measurement, each a PNG: noise, ranges, power-of-two factors, attention codes.

Each takes the summary that `fqvit-hw accuracy` writes, with its "layers".
"""

from __future__ import annotations

import io

WIDTH = 11  # inches


def panels(number: int, height: float, columns: int = 1, **more):
    """(figure, axes): `number` panels of `height` inches, without a display."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = -(-number // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, height * rows), squeeze=False, layout="constrained", **more
    )
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    for axis in list(axes.flat)[number:]:
        axis.set_visible(False)
    return figure, list(axes.flat)


def png(figure) -> bytes:
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    plt.close(figure)
    return buffer.getvalue()
