"""Configurations compared on the same images: signal to noise of the logits, agreement, top-1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..model import QuantizedModel

CHUNK = 10  # images at a time


@dataclass(frozen=True)
class Row:
    """One configuration on all images. agreement, top1: fractions of 1; snr: dB."""

    name: str
    snr: float
    agreement: float
    agreement_error: float
    top1: float
    top1_error: float


def float_logits(model, images, mean, std) -> np.ndarray:
    """float64 (B, classes)"""
    import torch

    from ..calibrate.float_steps import normalize

    with torch.inference_mode():
        chunks = [
            model(normalize(images[i : i + CHUNK], mean, std)).double().numpy()
            for i in range(0, len(images), CHUNK)
        ]
    return np.concatenate(chunks)


def networks(model, calibration, configs, mean, std) -> Iterator[tuple[str, QuantizedModel]]:
    """The integer network of every configuration, by name, calibrated anew only where the one
    before does not serve."""
    from ..calibrate import calibrated

    found = None
    for name, config in configs.items():
        if found is None or not found.serves(config):
            found = calibrated(model, calibration, config, mean=mean, std=std)
        yield name, found.build(config)


def integer_logits(qm: QuantizedModel, images, engine, name: str) -> np.ndarray:
    """The integer logits times their scale, float64 (B, classes)."""
    from tqdm import tqdm

    starts = tqdm(range(0, len(images), CHUNK), desc=name, leave=False)
    chunks = [qm.run(images[i : i + CHUNK], engine=engine) for i in starts]
    return np.concatenate(chunks) * qm.logit_scale


def summarize(name: str, real, logits, labels) -> Row:
    """real, logits: float64 (B, classes); labels: int (B,). Errors are sqrt(p (1 - p) / B)."""
    error = np.square(real - logits).sum()
    snr = 10 * np.log10(np.square(real).sum() / error) if error else np.inf
    fractions = []
    for right in (real.argmax(1) == logits.argmax(1), logits.argmax(1) == labels):
        p = float(np.mean(right))
        fractions += [p, float(np.sqrt(p * (1 - p) / len(labels)))]
    return Row(name, float(snr), *fractions)


def markdown(model: str, images: int, float_top1: float, rows: list[Row]) -> str:
    lines = [
        f"{model}, {images} images, float top-1 {float_top1:.2%}",
        "",
        "| configuration | logit SNR | agreement with float | top-1 |",
        "|---|---|---|---|",
    ]
    for r in rows:
        agreement = f"{r.agreement:.2%} ± {r.agreement_error:.2%}"
        top1 = f"{r.top1:.2%} ± {r.top1_error:.2%}"
        lines.append(f"| {r.name} | {r.snr:.2f} dB | {agreement} | {top1} |")
    return "\n".join(lines)
