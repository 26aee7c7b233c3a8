"""Real numbers to the integer parameters of the units, and the proofs that nothing overflows.

numpy only. Every function takes the layer's name, and refuses with it.
"""

from __future__ import annotations

import numpy as np

from ..errors import UserError
from ..formats import (
    ACC,
    BETA,
    BETA_FRACTION,
    EPSILON,
    GAMMA,
    MAX_CHANNELS,
    MAX_SHIFT,
    RESIDUAL_MAX_SHIFT,
    RESIDUAL_MULTIPLIER,
    IntFormat,
    bits_needed,
    rshift_round,
)
from ..network.scale import Scale
from ..units import LayerNorm, Linear, Requantize, Residual
from ..units.layernorm import MAX_GAMMA_SHIFT, LayerNormWidths
from ..units.mac_array import worst_accumulator
from .rounding import output_steps, round_to_nearest, round_to_output

LARGEST_BIAS = 2.0**30  # half of int32: the other half is for the products and the zero point
LARGEST_OPERAND = 128  # |int8|


def prove(layer: str, unit: str, largest: int, fmt: IntFormat, smallest: int = 0) -> None:
    """Raises ValueError naming layer, unit and bits unless [smallest, largest] fits `fmt`."""
    if largest > fmt.max or smallest < fmt.min:
        raise UserError(
            f"{layer}: {unit} could overflow: its worst case needs "
            f"{bits_needed(int(smallest), int(largest)) + (fmt.signed and smallest >= 0)} bits, "
            f"{fmt} has {fmt.width}"
        )


def encode_multiplier(layer: str, ratio) -> tuple[np.ndarray, np.ndarray]:
    """ratio: float >= 0, () or (channels,) -> M, N with ratio = M * 2^-N to 16 digits.

    M in [2^15, 2^16), N in 1..47. A ratio below 2^-32 gives M = 0, which is what it rounds any
    int32 to. Raises ValueError for a ratio of 2^15 or more.
    """
    mantissa, exponent = np.frexp(np.asarray(ratio, np.float64))  # ratio = [0.5, 1) * 2^exponent
    M = np.rint(mantissa * (1 << 16)).astype(np.int64)
    exponent = exponent + (M == 1 << 16)
    M = np.where(M == 1 << 16, 1 << 15, M)
    N = 16 - exponent.astype(np.int64)
    dead = (M == 0) | (N > MAX_SHIFT)
    if np.any((N < 1) & ~dead) or not np.all(np.isfinite(ratio)):
        raise UserError(f"{layer}: requantize cannot scale by {np.max(ratio):.4g}, at most 2^15")
    return np.where(dead, 0, M), np.where(dead, 1, N)


def build_requantize(layer: str, ratio, width: int, zero: int = 0) -> Requantize:
    """ratio: what one accumulator step is in output steps, () or (channels,)."""
    return Requantize(*encode_multiplier(layer, ratio), zero=zero, width=width)


def build_linear(
    layer: str, weight, bias, scale_in: float, zero_in: int, bits: int = 8, mean_in=None,
    moments=None,
):  # fmt: skip
    """weight: float (out, in); bias: float (out,) -> Linear, and its accumulator scale (out,).

    Weights are symmetric, one scale per output channel, max|w| / (2^(bits-1) - 1), and stored as
    int8 whatever their bits. The bias holds the input's zero point, and, if mean_in is given, the
    mean float input (in,), the mean error of the rounded weights (Nagel et al. 2019, section 4.2).
    A channel whose weights are so small that its bias would not fit takes the scale at which the
    bias is 2^30: the weights then round to fewer steps, in the end to zero, but in output steps
    they were next to nothing beside that bias. A channel with neither has scale 0, and so M = 0.
    Raises ValueError if the accumulator could overflow.
    """
    weight, bias = np.asarray(weight, np.float64), np.asarray(bias, np.float64)
    step = np.abs(weight).max(1) / IntFormat(bits).max
    if moments is not None:
        step = output_steps(weight, moments, bits)
    step = np.maximum(step, np.abs(bias) / (scale_in * LARGEST_BIAS))
    divisor = np.where(step > 0, step, 1.0)
    target = weight / divisor[:, None]
    codes = round_to_nearest(target)
    if moments is not None:
        codes = round_to_output(target, moments, bits)
    if mean_in is not None:
        bias = bias + ((weight - codes * step[:, None]) * mean_in).cumsum(1)[:, -1]  # in order
    constant = np.rint(bias / (scale_in * divisor)).astype(np.int64) - zero_in * codes.sum(1)
    worst = worst_accumulator(codes, constant, LARGEST_OPERAND)
    prove(layer, "the accumulator", int(worst.max()), ACC)
    return Linear(codes, constant), scale_in * step


def build_head(
    layer: str, weight, bias, scale_in: float, zero_in: int, bits: int = 8, mean_in=None,
    moments=None,
):  # fmt: skip
    """-> Linear, Requantize to 32 bits, accumulator scale (classes,), logit scale.

    The logit scale is the largest accumulator scale, so that no accumulator grows.
    """
    linear, acc_scale = build_linear(layer, weight, bias, scale_in, zero_in, bits, mean_in, moments)
    logit_scale = float(acc_scale.max()) or 1.0
    scaling = build_requantize(layer, acc_scale / logit_scale, ACC.width)
    worst = worst_accumulator(linear.weight, linear.bias, LARGEST_OPERAND)
    logit = rshift_round(worst * scaling.multiplier.astype(np.int64), scaling.shift)
    prove(layer, "the logit", int(logit.max()), ACC)
    return linear, scaling, acc_scale, logit_scale


def build_layernorm(layer: str, gamma, beta, eps: float, stream: Scale, width: int, out: Scale):
    """gamma, beta: float (C,); stream: of the input codes; out: of the int8 output -> LayerNorm."""
    channels, step = len(gamma), float(stream.scale)
    if channels > MAX_CHANNELS:
        raise UserError(f"{layer}: layernorm is proven for {MAX_CHANNELS} channels, not {channels}")
    gamma, beta = (
        np.asarray(gamma, np.float64) / out.scale,
        np.asarray(beta, np.float64) / out.scale,
    )
    epsilon = round(eps * channels**2 / (step * step))
    widths = LayerNormWidths(channels, width)
    prove(layer, "layernorm eps", epsilon, EPSILON)
    prove(layer, "layernorm V", widths.largest_variance + epsilon, widths.V)
    prove(layer, "layernorm gamma", round(np.abs(gamma).max()), GAMMA)
    B = np.rint(beta * (1 << BETA_FRACTION)).astype(np.int64)
    prove(layer, "layernorm beta", int(B.max()), BETA, int(B.min()))
    fits = [g for g in range(MAX_GAMMA_SHIFT + 1) if round(np.abs(gamma).max() * 2**g) <= GAMMA.max]
    G = np.rint(gamma * (1 << fits[-1])).astype(np.int64)
    factor = np.broadcast_to(stream.factor, channels)
    return LayerNorm(factor, stream.zero, width, epsilon, G, fits[-1], B, out.zero)


def build_residual(
    layer: str,
    x: Scale,
    x_width: int,
    y: Scale,
    y_width: int,
    out: Scale,
    width: int,
    channels: int,
) -> Residual:
    """The addition of x (the stream) and y (the branch) into `out`, with the most fraction bits.

    Raises ValueError if an input step is more than 2^17 output steps.
    """
    ratios = float(x.scale) / float(out.scale), float(y.scale) / float(out.scale)
    shifts = [n for n in range(RESIDUAL_MAX_SHIFT - 2) if fits_multiplier(max(ratios), n)]
    prove(layer, "residual multiplier", round(max(ratios)), RESIDUAL_MULTIPLIER)
    x_multiplier, y_multiplier = (round(ratio * 2 ** shifts[-1]) for ratio in ratios)
    return Residual(
        x_width=x_width,
        x_zero=x.zero,
        x_factor=np.broadcast_to(x.factor, channels),
        x_multiplier=x_multiplier,
        y_width=y_width,
        y_zero=y.zero,
        y_multiplier=y_multiplier,
        shift=shifts[-1],
        width=width,
        zero=out.zero,
        factor=np.broadcast_to(out.factor, channels),
    )


def fits_multiplier(ratio: float, shift: int) -> bool:
    return round(ratio * 2**shift) <= RESIDUAL_MULTIPLIER.max
