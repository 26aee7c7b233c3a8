"""Float and integers on the same images: logits, and the noise at every step in between."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from .model import QuantizedModel

CHUNK = 800  # tokens at a time in one worker: 200 MB of DeiT-Tiny's tensors
WORKERS = 2
SMALL = 20_000  # tokens in all, below which starting workers costs more than it saves


@dataclass
class Noise:
    """Sums of squares of one tensor over all images: of the real values and of the error."""

    signal: float = 0.0
    error: float = 0.0

    def __add__(self, other: Noise) -> Noise:
        return Noise(self.signal + other.signal, self.error + other.error)

    @property
    def snr_db(self) -> float | None:
        """10 log10(signal / error); None where there is no error or no signal."""
        if not self.signal or not self.error:
            return None
        return float(10 * np.log10(self.signal / self.error))


@dataclass
class Comparison:
    """One configuration on all images. float_logits, logits: float64 (B, classes).

    logits: the integer ones times their scale; noise: by name of the traced tensor, in order.
    """

    float_logits: np.ndarray
    logits: np.ndarray
    noise: dict[str, Noise] = field(default_factory=dict)

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            np.concatenate([self.float_logits, other.float_logits]),
            np.concatenate([self.logits, other.logits]),
            {name: self.noise[name] + other.noise[name] for name in self.noise},
        )


@dataclass
class Evaluator:
    """Everything a worker needs. models: the quantized ones, one per configuration."""

    model: object
    models: list[QuantizedModel]
    mean: tuple
    std: tuple

    def compare(self, images: np.ndarray) -> list[Comparison]:
        """images: uint8 (B, C, H, W) -> one Comparison per configuration."""
        from .calibrate.float_steps import float_steps, normalize

        x = normalize(images, self.mean, self.std)
        real = {name: tensor.numpy() for name, tensor in float_steps(self.model, x)}
        return [compare_one(qm, images, real) for qm in self.models]


def compare_one(qm: QuantizedModel, images, real: dict[str, np.ndarray]) -> Comparison:
    from .calibrate.float_steps import real_name

    noise = {}

    def record(name, codes):
        """Codes only: an accumulator's noise is that of the codes before it."""
        if name in qm.scales and real_name(name) in real and not name.endswith(".acc"):
            expected = real[real_name(name)]
            error = qm.scales[name].dequantize(codes) - expected
            noise[name] = Noise(sum_of_squares(expected), sum_of_squares(error))

    logits = qm.run(images, record=record)
    return Comparison(real["head"].astype(np.float64), logits * qm.logit_scale, noise)


def sum_of_squares(x: np.ndarray) -> float:
    x = x.ravel()
    return float(np.dot(x, x))  # float32: five digits, more than a report shows


_evaluator: Evaluator  # of a worker process


def start_worker(pickled: bytes) -> None:
    """Unpickling a timm model imports timm, which may need its repair first."""
    global _evaluator
    from .calibrate.timm_compat import import_timm

    import_timm()
    import torch

    torch.set_num_threads(1)
    _evaluator = pickle.loads(pickled)


def work(images: np.ndarray) -> list[Comparison]:
    return _evaluator.compare(images)


def compare_all(evaluator: Evaluator, images: np.ndarray, progress) -> list[Comparison]:
    """All images, in two processes where that pays; progress.update(n) after each few."""
    size = max(1, CHUNK // evaluator.models[0].network.tokens)
    chunks = [images[i : i + size] for i in range(0, len(images), size)]
    totals = None
    for chunk, parts in zip(chunks, results(evaluator, chunks, len(images)), strict=True):
        progress.update(len(chunk))
        # adding a long list pairwise would copy the logits each time: they are small
        totals = parts if totals is None else [a + b for a, b in zip(totals, parts, strict=True)]
    return totals


def results(evaluator: Evaluator, chunks: list, images: int) -> Iterator[list[Comparison]]:
    if images * evaluator.models[0].network.tokens < SMALL:
        yield from map(evaluator.compare, chunks)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's locked threads
    pickled = pickle.dumps(evaluator)
    with ProcessPoolExecutor(WORKERS, context, start_worker, (pickled,)) as pool:
        yield from pool.map(work, chunks)
