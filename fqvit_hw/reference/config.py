"""The settings of the simulation, and which defects of the authors' code it reproduces."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..attention_codes import MODES
from ..formats import UINT8

OBSERVERS = ("minmax", "ema", "percentile", "omse")
ATTENTION = ("lis4", "uniform8")


@dataclass(frozen=True)
class Defects:
    """What the authors' code does wrong; True reproduces it. docs/reference.md has the figures.

    contaminated_batch: Log-Int-Softmax runs on unquantized scores in the last calibration batch
    seventeen_states: attention codes 0..15 and zero, one state more than four bits hold
    unguarded_layer_norm: the variance cancels in float32, and a constant token gives NaN
    fractional_scores: scores divided by their scale are not rounded back to integers
    unguarded_i_exp: from a score scale of 1.671 the exponential of every score is 0, rows are NaN
    """

    contaminated_batch: bool = False
    seventeen_states: bool = False
    unguarded_layer_norm: bool = False
    fractional_scores: bool = False
    unguarded_i_exp: bool = False


AUTHORS_DEFECTS = Defects(**{field.name: True for field in fields(Defects)})


@dataclass(frozen=True)
class ReferenceConfig:
    """Raises TypeError or ValueError for an unknown choice.

    observer: how the range of an activation is taken (the residual stream with PTF: always minmax)
    ptf: integer LayerNorm with a power-of-two factor per channel, or float LayerNorm without
    attention: "lis4", Log-Int-Softmax, or "uniform8", float softmax quantized to 8 bits
    batches: the calibration images are seen in so many batches, or one each if there are fewer;
        the last one alone decides the PTF factors and the ranges of "omse" (authors: 10 x 100)
    quantize_input: whether the image is quantized; by default as the authors do, DeiT's and Swin's
        but not ViT's
    """

    observer: str = "minmax"
    ptf: bool = True
    attention: str = "lis4"
    batches: int = 10
    quantize_input: bool | None = None
    defects: Defects = Defects()

    def __post_init__(self):
        expect("observer", self.observer, OBSERVERS)
        expect("attention", self.attention, ATTENTION)
        if not isinstance(self.ptf, bool):
            raise TypeError(f"ReferenceConfig.ptf: expected a bool, got {self.ptf!r}")
        if type(self.batches) is not int or self.batches < 1:
            raise ValueError(f"ReferenceConfig.batches: expected 1 or more, got {self.batches!r}")
        if self.quantize_input not in (None, True, False):
            raise TypeError(
                "ReferenceConfig.quantize_input: expected None or a bool, "
                f"got {self.quantize_input!r}"
            )
        if not isinstance(self.defects, Defects):
            raise TypeError(f"ReferenceConfig.defects: expected Defects, got {self.defects!r}")

    @classmethod
    def of(cls, config) -> ReferenceConfig:
        """A ReferenceConfig as it is; of a QuantConfig the choices that the paper has too.

        What the integer machine has and the paper has not becomes minmax, or the attention maps of
        as many bits, four or eight.
        """
        if isinstance(config, cls):
            return config
        observer = config.observer if config.observer in OBSERVERS else "minmax"
        attention = "uniform8" if MODES[config.attention].bits == UINT8.width else "lis4"
        return cls(observer=observer, ptf=config.ptf, attention=attention)


def expect(name: str, value, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(f"ReferenceConfig.{name}: expected one of {choices}, got {value!r}")
