"""What lies in memory for the machine: column parameters, tables, the residual stream.

One `Layout` each. `compiler.pack` makes these bytes, `machine.interpreter` and the RTL take them
apart, `machine.document` writes them into docs/accelerator.md.
"""

from __future__ import annotations

from ..formats import BETA, EXPONENTIAL, GAMMA, GELU_INDEX_WIDTHS, INT8, INT16, PTF_BITS
from .fields import UNUSED, Field, Layout

# of a GEMM's column; C of them stand before the tiles of a column tile (Hardware.column_tile_bytes)
COLUMN = Layout(
    "column",
    Field("bias", 32, "added to the accumulator", signed=True),
    Field("multiplier", 16, "M of the requantize"),
    Field("shift", 8, "N of the requantize"),
    Field("x_factor", PTF_BITS, "RESIDUAL: PTF factor of the stream read"),
    Field("factor", PTF_BITS, "RESIDUAL: PTF factor of the stream written"),
    Field(UNUSED, 8 - 2 * PTF_BITS, "0"),
)

# of a channel, in the order of the channels
NORM = Layout(
    "NORM_TABLE",
    Field("gamma", GAMMA.width, "in units of 2^-gamma_shift output steps", signed=True),
    Field("beta", 32, f"{BETA} in units of 2^-10 output steps, sign-extended", signed=True),
    Field("factor", PTF_BITS, "PTF factor of the stream read"),
    Field(UNUSED, 16 - PTF_BITS, "0"),
)

# of a distance 0..255 from the row's maximum
SOFTMAX = Layout(
    "SOFTMAX_TABLE",
    Field(
        "entry",
        EXPONENTIAL.width,
        "of the distance d: E[d], or the code T[d] in a mode of the maximum",
    ),
    Field(UNUSED, 32 - EXPONENTIAL.width, "0"),
)
SOFTMAX_ENTRIES = 256

# of a pre-activation -2048..2047; a GELU of fewer index bits has the same table
GELU = Layout("GELU_TABLE", Field("code", INT8.width, "what the unit gives", signed=True))
GELU_ENTRIES = 1 << max(GELU_INDEX_WIDTHS)

# of a channel of the residual stream, C in a word
STREAM = Layout("STREAM", Field("code", INT16.width, "int8 is sign-extended", signed=True))

PARAM_BYTES, NORM_BYTES, SOFTMAX_BYTES = COLUMN.bytes, NORM.bytes, SOFTMAX.bytes


def document() -> str:
    """The part of docs/accelerator.md about bytes in memory."""
    whose = {
        COLUMN: "Parameters of a column",
        NORM: "An entry of NORM_TABLE, for each channel",
        SOFTMAX: "An entry of SOFTMAX_TABLE, for each distance from the row's maximum, "
                      f"d = 0..{SOFTMAX_ENTRIES - 1}",
        GELU: f"An entry of GELU_TABLE, for each pre-activation "
              f"{-GELU_ENTRIES // 2}..{GELU_ENTRIES // 2 - 1}",
        STREAM: "A channel of the residual stream",
    }  # fmt: skip
    parts = [
        "\n".join([f"{what}, {layout.bytes} byte{'s' * (layout.bytes > 1)}:", "", *layout.table()])
        for layout, what in whose.items()
    ]
    return "\n\n".join(parts) + "\n"
