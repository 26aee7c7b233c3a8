"""Second moments of the int8 codes that a Linear reads: what its weights are rounded for.

Sums of products of integers, exact in floating point, and so the same in any order and on any
machine.
"""

from __future__ import annotations

import numpy as np

from ..formats import INT8
from ..network.scale import Scale
from ..network.step import Operation, Step
from ..network.steps import VitSteps
from ..units import patches
from .float_steps import steps_of
from .observers import observe

TOKENS = 1 << 14  # of a tensor, evenly spaced, or all if there are fewer; int32 holds their sums
CLASS_SHARE = 4  # the class token counts as much as a quarter of all: the logits are made of it
CHUNK = 1 << 10  # tokens: sums of 2^10 products of two int8 stay within the 24 bits of float32


class Gram:
    """Number, sum int64 (K,) and products int32 (K, K) of the codes of a step's tensor.

    scale: what makes codes of the float tensors that `update` takes; images: how many there will
    be, from which the tokens that are left out follow; class_token: whether the first token of
    several is one.
    """

    def __init__(self, scale: Scale, images: int, class_token: bool = False):
        self.scale, self.images, self.class_token = scale, images, class_token
        self.seen = self.count = 0
        self.total, self.products = np.zeros(1, np.int64), np.zeros((1, 1), np.int32)

    def update(self, x) -> None:
        """x: a float tensor (B, ..., groups, columns)."""
        # (B, ..., groups, columns) -> (B, tokens, K)
        values = x.reshape(len(x), -1, x.shape[-2] * x.shape[-1]).double().numpy()
        codes = np.rint(values / float(self.scale.scale)) + self.scale.zero
        self.add(codes.clip(INT8.min, INT8.max).astype(INT8.dtype))

    def add(self, codes: np.ndarray) -> None:
        """codes: int8 (B, tokens, K)."""
        images, tokens, inputs = codes.shape
        stride = -(-self.images * tokens // TOKENS)
        self.count_in(codes.reshape(-1, inputs)[-self.seen * tokens % stride :: stride])
        if self.class_token and tokens > 1:
            some = -(-self.images // TOKENS)
            times = max(1, tokens // (CLASS_SHARE * stride))
            self.count_in(codes[-self.seen % some :: some, 0], times)
        self.seen += images

    def count_in(self, codes: np.ndarray, times: int = 1) -> None:
        """codes: int8 (tokens, K), each as if it came so many times."""
        self.count += times * len(codes)
        self.total = self.total + times * codes.sum(0, dtype=np.int64)
        for start in range(0, len(codes), CHUNK):
            part = codes[start : start + CHUNK].astype(np.float32)
            self.products = self.products + np.int32(times) * (part.T @ part).astype(np.int32)

    @property
    def mean(self) -> np.ndarray:
        """The mean code of every column, float64 (K,)."""
        return self.total / self.count

    @property
    def covariance(self) -> np.ndarray:
        """`count` times that of the codes, float64 (K, K). No sums: the same on any machine."""
        total = self.total.astype(np.float64)
        return self.products - np.outer(total, total) / self.count

    def about(self, zero: int) -> np.ndarray:
        """The sums of products of code - zero, float64 (K, K)."""
        edges = zero * (self.total[:, None] + self.total)
        return (self.products - edges + self.count * zero**2).astype(np.float64)


def pad_codes(mean) -> np.ndarray:
    """Of a pixel that is 0 once it is normalized, int64 (C,)."""
    return np.rint(np.multiply(255, mean)).astype(np.int64) + INT8.min


def observe_inputs(model, images, mean, std, scales: dict[str, Scale]) -> dict[str, Gram]:
    """The Gram of every tensor that a Linear reads, by name, in one pass over the images.

    images: uint8 (B, C, H, W); scales: of the tensors. The image's codes are its pixels.
    """
    steps, number = steps_of(model), len(images)
    class_token = isinstance(steps, VitSteps)
    names = {step.source for step in steps if step.operation is Operation.LINEAR}

    def observer(step: Step) -> Gram | None:
        return Gram(scales[step.name], number, class_token) if step.name in names else None

    found = observe(model, images, mean, std, observer)
    grams = {step.name: gram for step, gram in found.items()}
    grams[steps.image.name] = pixels = Gram(scales[steps.image.name], number)
    for image in images:
        pixels.add(patches(image[None], model.patch_embed.proj.kernel_size[0], pad_codes(mean)))
    return grams
