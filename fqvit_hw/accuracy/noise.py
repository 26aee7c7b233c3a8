"""Where the noise enters: float against integers at every step in between, on a few images.

The same pass collects what else the report shows: the codes of the attention maps, the range of
every channel that enters a LayerNorm, and the power-of-two factors chosen for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..attention_codes import AttentionCodes
from ..formats import CODE, PTF_MAX, ZERO_CODE
from ..model import QuantizedModel
from ..network.step import Role, Step
from .evaluate import Evaluator
from .summary import snr_db

AT_A_TIME = 2  # images: all tensors of ViT-Large take 0.5 GB each


@dataclass
class Noise:
    """Sums of squares of one tensor over all images: of the real values and of the error."""

    signal: float = 0.0
    error: float = 0.0

    def add(self, real: np.ndarray, got: np.ndarray) -> None:
        self.signal += sum_of_squares(real)
        self.error += sum_of_squares(got - real)


@dataclass
class Probe:
    """What is collected of one configuration, by name of the traced tensor, in order.

    codes: int64 (16,) how often each attention code occurs
    """

    noise: dict[str, Noise] = field(default_factory=dict)
    codes: dict[str, np.ndarray] = field(default_factory=dict)

    def look(self, qm: QuantizedModel, name: str, codes, real: dict[Step, np.ndarray]) -> None:
        """Codes only: an accumulator's noise is that of the codes before it."""
        step = qm.network.steps.by_tensor[name]
        if name not in qm.scales or step not in real or name == step.acc:
            return
        got = qm.scales[name].dequantize(codes)
        self.noise.setdefault(name, Noise()).add(real[step], got)
        if step.role is Role.PROBABILITY:
            mode = step.parameters(qm.network).codes
            self.codes[name] = self.codes.get(name, 0) + code_counts(mode, codes, got)


def sum_of_squares(x: np.ndarray) -> float:
    x = x.ravel()
    return float(np.dot(x, x))  # float32: five digits, more than a report shows


def code_counts(mode: AttentionCodes, codes: np.ndarray, real: np.ndarray) -> np.ndarray:
    """int64 (16,). Codes that are not of four bits count at the nearest power of two's of lis4."""
    if mode.bits != CODE.width:
        with np.errstate(divide="ignore"):
            exponent = np.minimum(np.rint(-np.log2(real)), ZERO_CODE)  # 0 gives infinity
        codes = exponent.astype(np.int64)
    return np.bincount(codes.ravel(), minlength=ZERO_CODE + 1)


def measure(evaluator: Evaluator, images: np.ndarray) -> dict:
    """images: uint8 (B, C, H, W), B >= 1 -> what the summary says under "layers"; plain values."""
    probes = {name: Probe() for name in evaluator.networks}
    ranges: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for start in range(0, len(images), AT_A_TIME):
        part = images[start : start + AT_A_TIME]
        real = real_tensors(evaluator, part)
        widen(ranges, real)
        for name, qm in evaluator.networks.items():

            def record(tensor, codes, qm=qm, probe=probes[name], real=real):
                probe.look(qm, tensor, codes, real)

            evaluator.run_integers(qm, part, record=record)
    return {
        "images": len(images),
        "ranges": {
            name: {"low": digits(low), "high": digits(high)} for name, (low, high) in ranges.items()
        },
        "configurations": {
            name: {
                "layer_snr_db": {n: snr_db(x.signal, x.error) for n, x in probe.noise.items()},
                "attention_codes": {n: c.tolist() for n, c in probe.codes.items()},
                "ptf_factors": dict(factors(evaluator.networks[name], ranges)),
            }
            for name, probe in probes.items()
        },
    }


def real_tensors(evaluator: Evaluator, images: np.ndarray) -> dict[Step, np.ndarray]:
    """Every tensor of the float model in float32, on the CPU."""
    from ..calibrate.float_steps import float_steps, normalize

    x = normalize(images, evaluator.mean, evaluator.std)
    return {step: tensor.float().numpy() for step, tensor in float_steps(evaluator.model.cpu(), x)}


def widen(ranges: dict, real: dict[Step, np.ndarray]) -> None:
    """Minimum and maximum per channel (C,) of the residual stream, by name of the tensor."""
    for step, tensor in real.items():
        if step.role is Role.STREAM:
            rows = tensor.reshape(-1, tensor.shape[-1])
            low, high = rows.min(0), rows.max(0)
            if step.name in ranges:
                low = np.minimum(low, ranges[step.name][0])
                high = np.maximum(high, ranges[step.name][1])
            ranges[step.name] = low, high


def factors(qm: QuantizedModel, names) -> Iterator[tuple[str, list[int]]]:
    """(name, factor 0..3 per channel) where the residual stream has them."""
    for name in names:
        factor = qm.scales[name].factor
        if factor.ndim == 1 and qm.config.ptf and qm.config.stream_width == 8:
            assert factor.max(initial=0) <= PTF_MAX
            yield name, factor.tolist()


def digits(x: np.ndarray) -> list[float]:
    """Four digits: a picture shows three."""
    return [float(f"{value:.4g}") for value in x]
