"""A step of a network: one tensor between two units, what makes it, and what it is called.

Who wants to know something about a tensor asks its step; nobody takes a name apart. `steps` has the
lists of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Operation(Enum):
    """What makes a step's tensor from those that it reads."""

    PATCHES = "patches"  # pixels to codes, a row per patch
    LINEAR = "linear"  # with its requantize
    LAYERNORM = "layernorm"
    SCORE = "score"  # q times k, requantized
    SOFTMAX = "softmax"
    CONTEXT = "context"  # attention codes times v, requantized
    GELU = "gelu"
    RESIDUAL = "residual"
    POOL = "pool"  # the mean over all tokens, requantized


class Role(Enum):
    """What a step's tensor is to the network: calibration chooses its number format by it."""

    IMAGE = "image"
    STREAM = "residual stream"  # in the stream's width, with PTF factors where there are some
    BRANCH = "branch"  # of a Linear, to be added to the stream
    NORMED = "normed"  # of a LayerNorm, int8
    QKV = "qkv"
    SCORE = "score"
    PROBABILITY = "probability"  # an attention map
    CONTEXT = "context"
    PRE_ACTIVATION = "pre-activation"  # fc1, what GELU reads
    ACTIVATION = "activation"
    POOLED = "pooled"
    LOGITS = "logits"


ACCUMULATING = (Operation.LINEAR, Operation.SCORE, Operation.CONTEXT, Operation.POOL)


@dataclass(frozen=True)
class Step:
    """One tensor between two units, and what makes it.

    name: in traces, network files, golden vectors and results; label: the same, short enough for an
    axis ("3.residual1", "2.1.residual1")
    reads: names of the steps that it takes, a residual's stream before its branch
    path: where an integer network has its parameters (`parameters`), () for the image
    block: name of the block that it belongs to, or None
    """

    name: str
    label: str
    operation: Operation
    role: Role
    reads: tuple[str, ...]
    path: tuple[str | int, ...]
    block: str | None

    @property
    def source(self) -> str:
        """Name of the step that it reads, or of the first of two."""
        return self.reads[0]

    @property
    def acc(self) -> str:
        """Name of its accumulator, where its operation has one, before it is requantized."""
        return f"{self.name}.acc"

    @property
    def normalized(self) -> str:
        """Name of a context's accumulator after it was divided by its row sum."""
        return f"{self.name}.normalized"

    @property
    def row_reciprocal(self) -> str:
        """Name of the reciprocals that a context's accumulator is multiplied by."""
        return f"{attention_of(self.block)}.row_reciprocal"

    @property
    def row_shift(self) -> str:
        """Name of the shifts of the products with these reciprocals."""
        return f"{attention_of(self.block)}.row_shift"

    def tensors(self, row_norm: bool = True) -> tuple[str, ...]:
        """Every tensor that is traced of it, in order; its own is the last.

        row_norm: whether the network scales its context rows (units.Softmax.row_norm)
        """
        if self.operation not in ACCUMULATING:
            return (self.name,)
        if self.operation is Operation.CONTEXT and row_norm:
            return self.acc, self.row_reciprocal, self.row_shift, self.normalized, self.name
        return self.acc, self.name

    def parameters(self, network) -> Any:
        """Its parameters in an integer network: Linear, LayerNorm, Requantize, Softmax, Gelu,
        Residual or Pool, as its operation takes it."""
        return follow(network, self.path)

    def scaling(self, network) -> Any:
        """The Requantize of a Linear step."""
        *before, last = self.path
        return follow(network, (*before, f"{last}_requantize"))


def follow(value, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key] if isinstance(key, int) else getattr(value, key)
    return value


def attention_of(block: str | None) -> str:
    return f"{block}.attn"
