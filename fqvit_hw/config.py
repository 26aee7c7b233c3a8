"""What calibration may choose: the switches of the integer machine and of its calibration.

Named settings are PRESETS; a TOML file holds one of one's own (`load_config`, `to_toml`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

from .attention_codes import MODES
from .errors import UserError
from .formats import GELU_INDEX_WIDTHS

CHOICES = {
    "exponential": ("exact", "lifted", "i-exp"),
    "row_norm": (True, False),
    "attention": tuple(MODES),
    "ptf": (True, False),
    "residual_operand": ("accumulator", "int8"),
    "stream_width": (16, 8),
    "gelu_index_width": GELU_INDEX_WIDTHS,
    "qkv_scales": ("separate", "shared"),
    "weight_bits": (8, 7, 6, 5, 4),
    "observer": ("minmax", "ema", "percentile", "omse", "clipped-gelu"),
    "calibration_images": range(1, 1_000_001),
    "fold_positions": (True, False),
    "fold_values": (True, False),
    "fold_norms": (True, False),
    "bias_correction": (True, False),
}


@dataclass(frozen=True)
class QuantConfig:
    """The switches of docs/calibration.md. Raises TypeError or ValueError for an unknown choice.

    Of the machine:
    exponential: what the softmax table is made from: exp, exp with the row's maximum raised (lis4
        only, the same as exact in others), or I-BERT's polynomial
    row_norm: scale each context row by the reciprocal of its row sum (a choice in lis4 only)
    attention: codes of the row's maximum in four bits (or 3, 5, 8), Log-Int-Softmax in four bits,
        or uint8 probabilities
    ptf: power-of-two factor per channel in the int8 residual stream (ignored at 16 bits)
    residual_operand: the branch enters the addition as 16 bits of its accumulator, or as int8
    stream_width: the residual stream in 8 bits, or 16 bits with zero point 0
    gelu_index_width: the GELU table has 2^width entries on [-4, 4)
    qkv_scales: one scale each for q, k and v, or one for the three
    weight_bits: weights use the codes of so many bits, stored as int8 (an experiment below 8)

    Of the calibration:
    observer: how the range of an int8 activation is taken from the images; clipped-gelu is minmax,
        but the high end of GELU's output is cut at the least squared error
    calibration_images: use so many of the images, evenly spaced, or all if there are fewer
    fold_positions, fold_values, fold_norms: change the float weights first, at no cost in hardware
        and without changing what the float model computes (calibrate/fold.py)
    bias_correction: take the mean error of every layer's rounded weights out of its bias
    """

    exponential: str = "exact"
    row_norm: bool = True
    attention: str = "max4"
    ptf: bool = True
    residual_operand: str = "accumulator"
    stream_width: int = 16
    gelu_index_width: int = 12
    qkv_scales: str = "separate"
    weight_bits: int = 8
    observer: str = "clipped-gelu"
    calibration_images: int = 100
    fold_positions: bool = True
    fold_values: bool = True
    fold_norms: bool = True
    bias_correction: bool = True

    def __post_init__(self):
        for field in fields(self):
            value, choices = getattr(self, field.name), CHOICES[field.name]
            message = f"QuantConfig.{field.name}: expected {shown(choices)}, got {value!r}"
            if type(value) is not type(choices[0]):
                raise TypeError(message)
            if value not in choices:
                raise ValueError(message)

    @property
    def normalizes_rows(self) -> bool:
        """Codes of the row's maximum leave its sum open; uniform8 sums to 1 already."""
        codes = MODES[self.attention]
        return codes.of_maximum or (self.row_norm and codes.row_sum is not None)

    @property
    def softmax_table(self) -> str:
        """Only lis4 has powers of two to make up for."""
        lifted = self.exponential == "lifted" and self.attention != "lis4"
        return "exact" if lifted else self.exponential

    @property
    def branch_width(self) -> int:
        return 16 if self.residual_operand == "accumulator" else 8


def shown(choices) -> str:
    if isinstance(choices, range):
        return f"an integer from {choices[0]} to {choices[-1]}"
    return f"one of {', '.join(repr(c) for c in choices)}"


PAPER_884 = QuantConfig(
    exponential="i-exp",
    row_norm=False,
    attention="lis4",
    residual_operand="int8",
    stream_width=8,
    gelu_index_width=10,
    qkv_scales="shared",
    observer="minmax",
    fold_positions=False,
    fold_values=False,
    fold_norms=False,
    bias_correction=False,
)

PRESETS = {
    "paper-884": PAPER_884,
    "paper-888": replace(PAPER_884, attention="uniform8"),
    "best": QuantConfig(),
}


def load_config(name_or_path) -> tuple[str, QuantConfig]:
    """A preset's name, or the path of a TOML file -> (name, configuration).

    The file holds fields of QuantConfig, all of them optional, and `preset`, the name of the preset
    that the others come from (without it: best). Its name is the file's without its suffix. Raises
    UserError naming the file, the key, its value and what is expected.
    """
    if str(name_or_path) in PRESETS:
        return str(name_or_path), PRESETS[str(name_or_path)]
    path = Path(name_or_path)
    if not path.is_file():
        raise UserError(
            f"{name_or_path}: no such configuration: expected {', '.join(PRESETS)} or a TOML file"
        )
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not TOML, or not UTF-8
        raise UserError(f"{path}: not a TOML file: {error}") from error
    preset = found.pop("preset", "best")
    if preset not in list(PRESETS):  # a list: the value may be of any kind
        raise UserError(f"{path}: preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
    if unknown := sorted(set(found) - set(CHOICES)):
        key = unknown[0]
        raise UserError(
            f"{path}: unknown key {key} = {found[key]!r}: expected preset, {', '.join(CHOICES)}"
        )
    try:
        return path.stem, replace(PRESETS[preset], **found)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {str(error).removeprefix('QuantConfig.')}") from error


def to_toml(config: QuantConfig) -> str:
    """Every field as a line of TOML; load_config of it gives an equal configuration."""
    return "".join(f"{f.name} = {toml_value(getattr(config, f.name))}\n" for f in fields(config))


def toml_value(value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else f'"{value}"'
