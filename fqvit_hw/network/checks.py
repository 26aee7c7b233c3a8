"""What the parts of a network must agree on; each check names the layer that does not fit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..formats import ACC, INT8, bits_needed
from ..units import LayerNorm, Linear, Requantize, Residual
from ..units.mac_array import worst_accumulator
from ..units.params import scalar_in


class Stream(NamedTuple):
    """The format of a residual stream between two units: width 8 or 16, zero, PTF factors (C,)."""

    width: int
    zero: int
    factor: np.ndarray

    @property
    def channels(self) -> int:
        return len(self.factor)


def written_by(add: Residual) -> Stream:
    return Stream(add.width, add.zero, add.factor)


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(f"network: {message}")


def check_layer(name: str, linear: Linear, requantize: Requantize, inputs: int, width: int) -> int:
    """Check one Linear, its worst accumulator and its requantize; returns its number of outputs."""
    outputs, got = linear.weight.shape
    expect(got == inputs, f"{name} takes {got} channels, its input has {inputs}")
    expect(requantize.width == width, f"{name} is {requantize.width} bits wide, expected {width}")
    expect(
        requantize.multiplier.shape == (outputs,),
        f"{name} has {outputs} outputs, its multipliers have shape {requantize.multiplier.shape}",
    )
    worst = int(worst_accumulator(linear.weight, linear.bias, -INT8.min).max(initial=0))
    expect(
        worst <= ACC.max,
        f"{name}: the accumulator could overflow: its worst case needs {bits_needed(0, worst) + 1} "
        f"bits, {ACC} has {ACC.width}",
    )
    return outputs


def check_norm(name: str, norm: LayerNorm, source: Stream) -> None:
    """A LayerNorm reads the residual stream in the format in which it was written."""
    same = (norm.width, norm.zero) == (source.width, source.zero)
    expect(
        same and np.array_equal(norm.factor, source.factor),
        f"{name} expects another width, zero point or PTF factors than its input has",
    )


def check_residual(name: str, add: Residual, source: Stream, branch: Requantize) -> None:
    """A Residual reads the stream as it was written, and the branch that `branch` wrote."""
    expect(
        (add.x_width, add.x_zero) == (source.width, source.zero)
        and np.array_equal(add.x_factor, source.factor),
        f"{name} expects another residual stream than the one before it writes",
    )
    expect(
        (add.y_width, add.y_zero) == (branch.width, branch.zero),
        f"{name} expects another branch format than its layer writes",
    )


def check_image_fields(network) -> int:
    """Check channels, height, width and patch; returns the codes of one patch."""
    for side in ("height", "width"):
        scalar_in(network, side, 1, 1 << 16)
    scalar_in(network, "channels", 1, 1 << 10)
    scalar_in(network, "patch", 1, min(network.height, network.width))
    return network.channels * network.patch**2
