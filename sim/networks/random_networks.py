"""Networks made of integers directly, with parameters that no calibration would choose.

Multipliers and shifts up to their limits, biases near the end of int32, eps' of 48 bits, PTF
factors, zero points, streams and branches of 8 and 16 bits, tables of noise. Each layer is scaled
by what a few images make of it, so that they still differ in the logits; some channels of each are
left to saturate, to vanish or to stand at a limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fqvit_hw.attention_codes import MODES
from fqvit_hw.config import QuantConfig
from fqvit_hw.engines.numpy_ops import NumpyOps
from fqvit_hw.formats import (
    ACC,
    BETA,
    EPSILON,
    EXPONENTIAL,
    GAMMA,
    INT8,
    MAX_GAMMA_SHIFT,
    MAX_SHIFT,
    MULTIPLIER,
    PTF_MAX,
    RESIDUAL_MAX_SHIFT,
    RESIDUAL_MULTIPLIER,
    IntFormat,
    LayerNormWidths,
)
from fqvit_hw.model import QuantizedModel
from fqvit_hw.network import Block, VisionTransformer
from fqvit_hw.network.checks import Stream, written_by
from fqvit_hw.units import (
    Attention,
    Gelu,
    LayerNorm,
    Linear,
    Requantize,
    Residual,
    Softmax,
    matmul,
)

from .known import random_images

Numbers = float | np.ndarray
TRIES = 50  # draws until the images' logits differ
IMAGES = 3


@dataclass(frozen=True)
class Sizes:
    """The most that a network may have of each; channels: also of all heads together."""

    tokens: int = 32
    channels: int = 40
    hidden: int = 60


def random_network(
    seed: int, sizes: Sizes | None = None, modes: Sequence[str] = ("max4",)
) -> tuple[QuantizedModel, np.ndarray]:
    """-> the network, and IMAGES images of different logits, uint8 (B, C, H, W).

    modes: attention modes to draw from, block by block. The same seed gives the same. Raises
    RuntimeError if no draw is of use.
    """
    rng = np.random.default_rng(seed)
    for _ in range(TRIES):
        draw = Draw(rng, sizes or Sizes(), modes)
        qm = QuantizedModel(draw.network(), QuantConfig(), 1.0, {})
        logits = qm.run(draw.images, engine="numpy")
        if len(np.unique(logits, axis=0)) == len(logits):
            return qm, draw.images
    raise RuntimeError(f"seed {seed}: in {TRIES} draws all images look alike")


class Draw:
    """One network, made layer by layer along the walk of its images."""

    def __init__(self, rng: np.random.Generator, sizes: Sizes, modes: Sequence[str]):
        self.rng, self.ops, self.modes = rng, NumpyOps(), modes
        self.patch, channels = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        side = int(np.sqrt(sizes.tokens - 1))
        grid = rng.integers(1, side + 1, 2)
        self.C = int(rng.integers(3, sizes.channels + 1))
        self.H, self.depth = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        self.D = int(rng.integers(1, max(sizes.channels // self.H, 1) + 1))
        self.M = int(rng.integers(2, sizes.hidden + 1))
        self.classes = int(rng.integers(2, 20))
        self.narrow = bool(rng.integers(2))  # the stream has 8 bits
        height, width = (int(n) * self.patch for n in grid)
        self.images = random_images(IMAGES, (channels, height, width), int(rng.integers(1 << 30)))

    def some(self, shape: int | tuple[int, ...], share: float) -> np.ndarray:
        """bool: true for about `share` of the places."""
        return self.rng.random(shape) < share

    def any_of(self, fmt: IntFormat, shape: int | tuple[int, ...]) -> np.ndarray:
        """Integers of all of a format."""
        return self.rng.integers(fmt.min, fmt.max + 1, shape)

    def zero(self) -> int:
        """A zero point."""
        return int(self.any_of(INT8, 1)[0])

    # --- scaling

    def shift_to(self, peak: Numbers, multiplier: Numbers, size: Numbers) -> np.ndarray:
        """The shift that brings peak * multiplier to about `size`."""
        exact = np.log2(np.maximum(peak, 1) * np.maximum(multiplier, 1.0) / np.maximum(size, 1))
        return np.clip(np.round(exact), 1, MAX_SHIFT).astype(np.int64)

    def requantize(
        self, acc: np.ndarray, width: int, zero: int, half: float | None = None
    ) -> Requantize:
        """acc: (..., channels). half: what most channels are to reach; about half the range."""
        rng, channels = self.rng, acc.shape[-1:]
        fmt = IntFormat(width)
        flat = acc.reshape(-1, *channels).astype(np.float64)
        M = rng.integers(1 << 15, MULTIPLIER.max + 1, channels)
        size = (half or fmt.max / 2) * 2.0 ** rng.uniform(-2, 2, channels)
        varies, peak = flat.std(0), np.abs(flat).max(0)
        loud = peak > 100 * varies  # a bias hides the rest: the whole is to fit
        shift = self.shift_to(np.where(loud, peak, varies), M, np.where(loud, fmt.max * 0.7, size))
        M = np.where(self.some(channels, 0.04), 0, M)
        shift = np.where(self.some(channels, 0.06), rng.integers(1, 5, channels), shift)
        shift = np.where(self.some(channels, 0.04), MAX_SHIFT, shift)
        return Requantize(M, shift, zero, width)

    def scalar(self, acc: np.ndarray, zero: int = 0) -> Requantize:
        """Of all channels together, to 8 bits."""
        M = int(self.rng.integers(1 << 15, MULTIPLIER.max + 1))
        peak = float(np.abs(acc).max())
        shift = self.shift_to(peak, M, INT8.max * 2.0 ** self.rng.uniform(-0.5, 1.5))
        return Requantize(np.array(M), shift, zero, 8)

    def linear(
        self, x: np.ndarray, outputs: int, width: int, zero: int, half: float | None = None
    ) -> tuple[Linear, Requantize, np.ndarray]:
        """x: codes (..., K) -> a layer, its requantize and what comes of x, (..., outputs)."""
        rng, K = self.rng, x.shape[-1]
        weight = self.any_of(INT8, (outputs, K))
        bias = rng.integers(-(1 << 13), 1 << 13, outputs)
        room = ACC.max - 128 * np.abs(weight).sum(1)
        bias = np.where(self.some(outputs, 0.1), room * rng.choice([-1, 1], outputs), bias)
        layer = Linear(weight, bias)
        scaling = self.requantize(matmul(x, weight, bias), width, zero, half)
        return layer, scaling, self.ops.linear(x, layer, scaling)

    # --- the stream

    def factors(self) -> np.ndarray:
        return self.rng.integers(0, PTF_MAX + 1, self.C) if self.narrow else np.zeros(self.C, int)

    def residual(
        self, x: np.ndarray, y: np.ndarray, source: Stream, y_width: int, y_zero: int
    ) -> Residual:
        """Of the stream x, in the format `source`, and the branch y."""
        rng = self.rng
        zero = self.zero() if self.narrow else 0
        X = (x.astype(np.float64) - source.zero) * 2.0**source.factor
        Y = y.astype(np.float64) - y_zero
        Mx, My = (
            max(1, int(RESIDUAL_MULTIPLIER.max * 2.0 ** -rng.uniform(0, 4))) for _ in range(2)
        )
        quiet = rng.random() < 0.3  # all multiplied by as much as can be, for a shift about 32
        if quiet:
            Mx = My = RESIDUAL_MULTIPLIER.max
        elif X.std() and Y.std():  # neither hides the other
            ratio = X.std() * Mx / (Y.std() * My) * 2.0 ** rng.uniform(-2, 2)
            Mx, My = int(Mx / max(ratio, 1)), int(My * min(ratio, 1))
        total, factor = X * Mx + Y * My, self.factors()
        width = 8 if self.narrow else 16
        half = rng.uniform(0.6, 2) if quiet else IntFormat(width).max * 2.0 ** rng.uniform(-4, 1)
        peak = max(float(np.abs(total / 2.0**factor).max()), 1.0)
        shift = int(np.clip(round(np.log2(peak / half)), 0, RESIDUAL_MAX_SHIFT))
        return Residual(
            source.width, source.zero, source.factor, Mx, y_width, y_zero, My, shift, width, zero,
            factor,
        )  # fmt: skip

    def norm(self, x: np.ndarray, source: Residual) -> LayerNorm:
        """Of codes x, written by `source`."""
        rng, C = self.rng, self.C
        widths = LayerNormWidths(C, source.width)
        most = min(EPSILON.max, widths.V.max - widths.largest_variance)
        eps = rng.choice([0, int(most ** rng.random()), int(most * rng.random()), most])
        X = (x.astype(np.float64) - source.zero) * 2.0**source.factor
        t = (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + eps / C**2 + 1e-9)
        spread = np.maximum(t.reshape(-1, C).std(0), 1e-6)
        gain = rng.uniform(20, 200, C) / spread * rng.choice([-1, 1], C)
        fitting = np.log2(GAMMA.max / np.median(np.abs(gain)))
        g = int(np.clip(fitting - rng.uniform(0, 3), 0, MAX_GAMMA_SHIFT))
        gamma = np.clip(np.round(gain * 2.0**g), GAMMA.min, GAMMA.max).astype(np.int64)
        beta = rng.integers(-(1 << 16), 1 << 16, C)
        return LayerNorm(
            factor=source.factor, zero=source.zero, width=source.width, eps=int(eps),
            gamma=np.where(self.some(C, 0.1), rng.choice([GAMMA.min, 0, GAMMA.max], C), gamma),
            gamma_shift=g,
            beta=np.where(self.some(C, 0.05), rng.choice([BETA.min, BETA.max], C), beta),
            zero_out=self.zero(),
        )  # fmt: skip

    # --- the network

    def branch(
        self, x: np.ndarray, stream: np.ndarray, before: Residual
    ) -> tuple[Linear, Requantize, Residual, np.ndarray]:
        """The end of a branch: its last layer, its requantize, the add, the stream after it."""
        width = int(self.rng.choice([8, 16]))
        zero = self.zero() if width == 8 else 0
        layer, scaling, y = self.linear(x, self.C, width, zero)
        add = self.residual(stream, y, written_by(before), width, zero)
        return layer, scaling, add, self.ops.residual(stream, y, add)

    def exponentials(self) -> np.ndarray:
        """uint24 (256,), the first the largest: falling at any pace, or noise."""
        rng = self.rng
        first = int(EXPONENTIAL.max * 2.0 ** -rng.uniform(0, rng.choice([1, 20])))
        if rng.random() < 0.3:
            return np.concatenate([[first], rng.integers(0, first + 1, 255)])
        return np.floor(first * 2.0 ** (-np.arange(256) / rng.uniform(1, 30))).astype(np.int64)

    def softmax(self) -> Softmax:
        """Of a mode that the network's machine has; tables of codes are noise."""
        codes = MODES[str(self.rng.choice(self.modes))]
        if codes.of_maximum:
            table = self.any_of(codes.format, 256)
            table[0] = 0
            return Softmax(table, codes.name)
        normed = codes.row_sum is not None and bool(self.rng.integers(2))
        return Softmax(self.exponentials(), codes.name, normed)

    def attention(self, qkv: np.ndarray) -> Attention:
        seen: dict[str, np.ndarray] = {}

        def context(scores: Requantize, scaling: Requantize) -> np.ndarray:
            p = Attention(scores, softmax, scaling)
            self.ops.attention(qkv, self.H, p, record=seen.__setitem__)
            return seen["context.normalized" if softmax.row_norm else "context.acc"]

        softmax = self.softmax()
        any_ = Requantize(np.array(1 << 15), np.array(20), 0, 8)
        context(any_, any_)
        scores = self.scalar(seen["score.acc"])
        scaling = self.scalar(context(scores, any_), self.zero())
        return Attention(scores, softmax, scaling)

    def gelu(self, x: np.ndarray) -> Gelu:
        index_width = int(self.rng.choice([8, 10, 12]))
        M = int(self.rng.integers(1 << 15, MULTIPLIER.max + 1))
        shift = self.shift_to(float(np.abs(x).max()), M, INT8.max * 2.0 ** self.rng.uniform(-1, 2))
        linear = Requantize(np.array(M), shift, self.zero(), 8)
        return Gelu(index_width, self.any_of(INT8, 1 << index_width), linear)

    def block(self, stream: np.ndarray, before: Residual) -> tuple[Block, np.ndarray]:
        ops = self.ops
        norm1 = self.norm(stream, before)
        qkv, qkv_requantize, y = self.linear(
            ops.layernorm(stream, norm1), 3 * self.H * self.D, 8, 0
        )
        attention = self.attention(y)
        y = ops.attention(y, self.H, attention)
        proj, proj_requantize, residual1, stream = self.branch(y, stream, before)
        norm2 = self.norm(stream, residual1)
        half = 2.0 ** self.rng.uniform(7, 14)
        fc1, fc1_requantize, y = self.linear(ops.layernorm(stream, norm2), self.M, 16, 0, half)
        gelu = self.gelu(y)
        fc2, fc2_requantize, residual2, stream = self.branch(ops.gelu(y, gelu), stream, residual1)
        block = Block(
            self.H, norm1, qkv, qkv_requantize, attention, proj, proj_requantize, residual1,
            norm2, fc1, fc1_requantize, gelu, fc2, fc2_requantize, residual2,
        )  # fmt: skip
        return block, stream

    def network(self) -> VisionTransformer:
        ops, images = self.ops, self.images
        x = ops.patches(images, self.patch)
        width = int(self.rng.choice([8, 16]))
        zero = self.zero() if width == 8 else 0
        patch_embed, scaling, x = self.linear(x, self.C, width, zero)
        cls_token = self.rng.choice(x.reshape(-1, self.C), axis=0)  # as loud as a patch
        positions = Stream(
            width=8 if self.narrow else int(self.rng.choice([8, 16])),
            zero=0,
            factor=np.zeros(self.C, int),
        )
        pos_embed = self.any_of(IntFormat(positions.width), (x.shape[1] + 1, self.C))
        tokens = np.broadcast_to(cls_token, (len(x), 1, self.C)).astype(x.dtype)
        y = np.concatenate([tokens, x], axis=1)  # (B, N - 1, C) -> (B, N, C)
        embed = self.residual(np.broadcast_to(pos_embed, y.shape), y, positions, width, zero)
        stream, before, blocks = ops.embed(x, cls_token, pos_embed, embed), embed, []
        for _ in range(self.depth):
            block, stream = self.block(stream, before)
            before = block.residual2
            blocks.append(block)
        norm = self.norm(stream, before)
        head, head_requantize, _ = self.linear(
            ops.layernorm(stream[:, 0], norm), self.classes, 32, 0
        )
        _, channels, height, width = images.shape
        return VisionTransformer(
            channels, height, width, self.patch, patch_embed, scaling, cls_token, pos_embed, embed,
            tuple(blocks), norm, head, head_requantize,
        )  # fmt: skip
