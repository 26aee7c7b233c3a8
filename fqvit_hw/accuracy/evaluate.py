"""Images through the float model, the integer networks and the paper's simulation: one record each.

A record holds all that any figure needs, so that figures are sums over records, whatever order
and however many processes the records come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.batches import Batch
from ..model import QuantizedModel

if TYPE_CHECKING:  # it imports torch
    from ..reference import Reference

FLOAT = "float"
TOP = 5


def integer_column(configuration: str) -> str:
    return f"integer {configuration}"


def reference_column(simulation: str | None) -> str:
    return f"reference {simulation}"


@dataclass
class Evaluator:
    """Everything that scores images; pickled once for each worker of a cluster.

    model: the float one; networks: by name of the configuration; references: by name of the
    simulation; mean, std: the model's preprocessing; engine, device: as QuantizedModel.run takes
    them, None for its default.
    """

    model: Any  # a torch module
    networks: dict[str, QuantizedModel]
    references: dict[str, Reference] = field(default_factory=dict)
    mean: tuple = ()
    std: tuple = ()
    engine: str | None = None
    device: str | None = None

    def score(self, batch: Batch) -> list[dict]:
        """One record per image, and one per broken file."""
        records: list[dict[str, Any]] = [
            {"file": file, "broken": why} for file, why in batch.broken
        ]
        if not batch.files:
            return records
        real = self.run_float(batch.images)
        logits = {FLOAT: real}
        for name, reference in self.references.items():
            logits[reference_column(name)] = np.asarray(reference.run(batch.images), np.float64)
        for name, qm in self.networks.items():
            logits[integer_column(name)] = self.run_integers(qm, batch.images) * qm.logit_scale
        signal = np.square(real).sum(1)
        best = {column: top(x) for column, x in logits.items()}
        error = {c: np.square(x - real).sum(1) for c, x in logits.items() if c != FLOAT}
        for i, (file, label) in enumerate(zip(batch.files, batch.labels, strict=True)):
            records.append(
                {
                    "file": file,
                    "label": int(label),
                    "top5": {column: classes[i].tolist() for column, classes in best.items()},
                    "signal": float(signal[i]),
                    "error": {column: float(e[i]) for column, e in error.items()},
                }
            )
        return records

    def run_float(self, images: np.ndarray) -> np.ndarray:
        """uint8 (B, C, H, W) -> logits float64 (B, classes) of the float model."""
        import torch

        from ..calibrate.float_steps import normalize

        device = self.device or "cpu"
        torch.backends.cudnn.allow_tf32 = False  # float32 is to mean float32 on a GPU too
        with torch.inference_mode():
            x = normalize(images, self.mean, self.std).to(device)
            return self.model.to(device)(x).double().cpu().numpy()

    def run_integers(self, qm: QuantizedModel, images: np.ndarray, **more) -> np.ndarray:
        """uint8 (B, C, H, W) -> logits int32 (B, classes)."""
        choice = {"engine": self.engine, "device": self.device}
        return qm.run(images, **{k: v for k, v in choice.items() if v is not None}, **more)


def top(logits: np.ndarray) -> np.ndarray:
    """(B, classes) -> (B, 5): the classes of the largest logits; of equal ones the first class."""
    return np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
