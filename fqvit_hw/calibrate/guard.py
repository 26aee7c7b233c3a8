"""Does the model compute what its layers say? What calibration believes, held against model(x).

The float steps are made from the parameters of the layers that a ViT or a Swin has by its design.
A hook, a method that somebody replaced, a scale that fused attention does not look at: all of them
make a model that computes something else, and its integers would be those of another network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ..errors import UserError
from ..network.step import Step
from ..network.steps import SwinSteps, VitSteps
from .float_steps import columns, float_steps, normalize, steps_of

IMAGES = 2
# Float32 against float64: 120 to 134 dB for models as they are meant to be. A scale that is 1 % off
# gives 40 to 60. 80 dB, an error of 1e-4, leaves both a margin; quantization is at 20 dB.
BOUND_DB = 80.0


class Place(NamedTuple):
    """Where a step's tensor shows in the float model: what a module takes, or what it returns."""

    module: nn.Module
    returns: bool = True


def check_same(model, images: np.ndarray, mean, std) -> None:
    """images: uint8 (B, C, H, W), of which the first are used. Raises UserError with the first
    step where the model has other values than the float steps."""
    x = normalize(images[:IMAGES], mean, std).to(next(model.parameters()).dtype)
    steps = steps_of(model)
    with plain_torch(), watched(places(model, steps)) as seen:
        logits = model(x)
    real = {step: columns(step, tensor) for step, tensor in float_steps(model, x)}
    found = agreement(real[steps.head], logits)
    if found >= BOUND_DB:
        return
    where = "the logits, behind the head"
    for step, tensor in real.items():
        if step in seen and (there := agreement(tensor, seen[step])) < BOUND_DB:
            finite = bool(seen[step].isfinite().all() and tensor.isfinite().all())
            where = f"{step.name} ({f'{there:.1f} dB' if finite else 'not finite'})"
            break
        if step in places(model, steps) and step not in seen:
            where = f"{step.name} (its layer is not called)"
            break
    raise UserError(
        f"the model does not compute what its layers say: the signal to noise ratio of model(x) "
        f"against them is {found:.1f} dB, expected {BOUND_DB:.0f} or more; the first that differs: "
        f"{where}. Look for hooks, replaced forward methods, changed scales and layers that are "
        "not what their place stands for"
    )


def agreement(real: torch.Tensor, got) -> float:
    """Signal to noise in dB; infinite where equal, minus infinity where nothing can be compared.

    The order of the tokens is the same, whatever shape holds them.
    """
    if not isinstance(got, torch.Tensor) or got.numel() != real.numel():
        return -np.inf
    error = got.double().reshape(real.shape) - real
    signal, noise = float(real.square().sum()), float(error.square().sum())
    if not np.isfinite(signal + noise):
        return -np.inf
    if noise == 0:
        return np.inf
    return 10 * float(np.log10(signal / noise)) if signal else -np.inf


@contextlib.contextmanager
def plain_torch() -> Iterator[None]:
    """No autocast, no gradients, float32 products in float32, whatever the caller has set."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


@contextlib.contextmanager
def watched(where: dict[Step, Place]) -> Iterator[dict[Step, torch.Tensor]]:
    """What passed the places while the model ran. Hooks that come last see what others made."""
    seen: dict[Step, torch.Tensor] = {}

    def returned(step: Step):
        def hook(module, given, result):
            seen[step] = result.clone()

        return hook

    def taken(step: Step):
        def hook(module, given):
            seen[step] = given[0].clone()

        return hook

    handles = [
        at.module.register_forward_hook(returned(step))
        if at.returns
        else at.module.register_forward_pre_hook(taken(step))
        for step, at in where.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def places(model, steps: VitSteps | SwinSteps) -> dict[Step, Place]:
    """In the order of the data. Scores and probabilities show nowhere: attention is fused."""
    found = {steps.patch_embed: Place(model.patch_embed)}
    if isinstance(steps, SwinSteps):
        found[steps.patch_embed] = Place(model.patch_embed.norm, returns=False)
        found[steps.patch_embed_norm] = Place(model.patch_embed)
        for stage, at in zip(model.layers, steps.stages, strict=True):
            if at.merge:
                found[at.merge.norm] = Place(stage.downsample.norm)
                found[at.merge.reduction] = Place(stage.downsample)
        found[steps.pool] = Place(model.head.fc, returns=False)
        found[steps.norm] = Place(model.norm)
    else:
        found[steps.embed] = Place(model.blocks[0], returns=False)
        found[steps.norm] = Place(model.head, returns=False)
    found[steps.head] = Place(model.head)
    for at in steps.blocks:
        block = model.get_submodule(at.name)
        found |= {
            at.norm1: Place(block.norm1),
            at.qkv: Place(block.attn.qkv),
            at.context: Place(block.attn.proj, returns=False),
            at.proj: Place(block.attn.proj),
            at.residual1: Place(block.norm2, returns=False),
            at.norm2: Place(block.norm2),
            at.fc1: Place(block.mlp.fc1),
            at.gelu: Place(block.mlp.fc2, returns=False),
            at.fc2: Place(block.mlp.fc2),
            at.residual2: Place(block),
        }
    return found
