"""The scalar parameters that stand in instructions: a network's, or stand-ins for a sweep."""

from __future__ import annotations

from typing import Protocol

from ...attention_codes import MODES
from ...network import VisionTransformer
from ...network.step import Step


class Scalars(Protocol):
    """Fields of instructions, by the step whose parameters they are."""

    def norm(self, step: Step) -> dict[str, int]:
        """Of a NORM."""
        ...

    def residual(self, linear: Step, add: Step) -> dict[str, int]:
        """Of a GEMM with the epilogue RESIDUAL."""
        ...

    def gelu(self, step: Step) -> dict[str, int]:
        """Of a GEMM with the epilogue GELU."""
        ...

    def attention(self, step: Step, softmax: Step) -> dict[str, int]:
        """Of a GEMM of scores or of context rows."""
        ...


class NetworkScalars:
    """Those of a network."""

    def __init__(self, network: VisionTransformer):
        self.network = network

    def norm(self, step: Step) -> dict[str, int]:
        p = step.parameters(self.network)
        return dict(eps=p.eps, zero=p.zero, gamma_shift=p.gamma_shift, zero_out=p.zero_out)

    def residual(self, linear: Step, add: Step) -> dict[str, int]:
        scaling, p = linear.scaling(self.network), add.parameters(self.network)
        return dict(
            zero=scaling.zero, wide=int(scaling.width == 16), x_zero=p.x_zero,
            x_multiplier=p.x_multiplier, y_multiplier=p.y_multiplier, add_shift=p.shift,
            add_zero=p.zero, stream16=int(p.width == 16),
        )  # fmt: skip

    def gelu(self, step: Step) -> dict[str, int]:
        p = step.parameters(self.network).linear
        return dict(x_multiplier=int(p.multiplier), add_shift=int(p.shift), add_zero=p.zero)

    def attention(self, step: Step, softmax: Step) -> dict[str, int]:
        p, of = step.parameters(self.network), softmax.parameters(self.network)
        return dict(
            multiplier=int(p.multiplier), shift=int(p.shift), zero=p.zero,
            row_norm=int(of.row_norm), mode=list(MODES).index(of.mode),
        )  # fmt: skip


class StandIns:
    """The same for every step: of a 16-bit stream, with row norm. Cycles do not depend on them."""

    def norm(self, step: Step) -> dict[str, int]:
        return dict(eps=1, zero=0, gamma_shift=8, zero_out=0)

    def residual(self, linear: Step, add: Step) -> dict[str, int]:
        return dict(
            zero=0, wide=1, x_zero=0, x_multiplier=1 << 16, y_multiplier=1 << 16, add_shift=17,
            add_zero=0, stream16=1,
        )  # fmt: skip

    def gelu(self, step: Step) -> dict[str, int]:
        return dict(x_multiplier=1 << 15, add_shift=20, add_zero=0)

    def attention(self, step: Step, softmax: Step) -> dict[str, int]:
        return dict(multiplier=1 << 15, shift=20, zero=0, row_norm=1)
