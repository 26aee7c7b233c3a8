"""What calibration may choose: the switches of the integer machine, and named settings of them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .errors import UserError
from .formats import GELU_INDEX_WIDTHS

CHOICES = {
    "exponential": ("exact", "i-exp"),
    "row_norm": (True, False),
    "attention": ("lis4", "uniform8"),
    "ptf": (True, False),
    "residual_operand": ("accumulator", "int8"),
    "stream_width": (8, 16),
    "gelu_index_width": GELU_INDEX_WIDTHS,
    "qkv_scales": ("separate", "shared"),
    "weight_bits": (8,),
}


@dataclass(frozen=True)
class QuantConfig:
    """The switches of DESIGN.md section 2. Raises TypeError or ValueError for an unknown choice.

    exponential: what the softmax table holds, exp or I-BERT's polynomial
    row_norm: scale each context row by the reciprocal of its row sum (ignored by uniform8)
    attention: Log-Int-Softmax in four bits, or uint8 probabilities
    ptf: power-of-two factor per channel in the int8 residual stream (ignored at 16 bits)
    residual_operand: the branch enters the addition as 16 bits of its accumulator, or as int8
    stream_width: the residual stream in 8 bits, or 16 bits with zero point 0
    gelu_index_width: the GELU table has 2^width entries on [-4, 4)
    qkv_scales: one scale each for q, k and v, or one for the three
    """

    exponential: str = "exact"
    row_norm: bool = True
    attention: str = "lis4"
    ptf: bool = True
    residual_operand: str = "accumulator"
    stream_width: int = 8
    gelu_index_width: int = 12
    qkv_scales: str = "separate"
    weight_bits: int = 8

    def __post_init__(self):
        for field in fields(self):
            value, choices = getattr(self, field.name), CHOICES[field.name]
            if type(value) is not type(choices[0]):
                raise TypeError(f"QuantConfig.{field.name}: expected {choices}, got {value!r}")
            if value not in choices:
                raise ValueError(f"QuantConfig.{field.name}: expected {choices}, got {value!r}")

    @property
    def normalizes_rows(self) -> bool:
        """uniform8 probabilities sum to 1 already."""
        return self.row_norm and self.attention == "lis4"

    @property
    def branch_width(self) -> int:
        return 16 if self.residual_operand == "accumulator" else 8


PAPER = QuantConfig(
    exponential="i-exp",
    row_norm=False,
    residual_operand="int8",
    gelu_index_width=10,
    qkv_scales="shared",
)

PRESETS = {"default": QuantConfig(), "paper": PAPER}


def load_config(name_or_path) -> tuple[str, QuantConfig]:
    """A preset by its name. Raises UserError naming the presets."""
    if str(name_or_path) not in PRESETS:
        raise UserError(f"--config {name_or_path}: expected one of {', '.join(PRESETS)}")
    return str(name_or_path), PRESETS[str(name_or_path)]
