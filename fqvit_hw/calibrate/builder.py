"""What the builders of ViT and Swin have in common: the parameters of every kind of step."""

from __future__ import annotations

from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from ..attention_codes import MODES
from ..config import QuantConfig
from ..errors import UserError
from ..formats import ACC, CONTEXT_FRACTION, INT8, INT16, MAX_TOKENS, UINT8
from ..network import Block
from ..network.scale import Scale
from ..network.step import Role, Step
from ..network.steps import BlockSteps, Steps
from ..units import Attention, Softmax
from .exact import ordered_sum
from .fixed_point import (
    LARGEST_OPERAND,
    build_head,
    build_layernorm,
    build_linear,
    build_requantize,
    build_residual,
    prove,
)
from .tables import build_gelu, softmax_table


def array(parameter) -> np.ndarray:
    """A torch parameter as float64."""
    return parameter.detach().double().cpu().numpy()


def weight_and_bias(layer) -> tuple[np.ndarray, np.ndarray]:
    """float64 (out, in), (out,) of a Linear; zeros where it has no bias."""
    weight = array(layer.weight)
    return weight, np.zeros(len(weight)) if layer.bias is None else array(layer.bias)


def prove_tokens(tokens: int) -> None:
    if tokens > MAX_TOKENS:
        raise UserError(f"softmax is proven for {MAX_TOKENS} tokens, the model has {tokens}")


Family = TypeVar("Family", bound=Steps)


class Builder(Generic[Family]):
    """What the networks have in common; `scales` gains the scale of every accumulator on the way.

    Subclasses build one architecture: network() -> the network and its logit scale. The parameters
    of a step are built from the scales of what it reads and of what it writes.
    """

    def __init__(
        self, model, steps: Family, scales: dict[str, Scale], means, grams, config: QuantConfig,
        mean, std,
    ):  # fmt: skip
        self.model, self.config, self.mean, self.std = model, config, mean, std
        self.steps = steps
        self.means = means if config.bias_correction else {}
        self.grams = grams
        self.scales = dict(scales)

    def tokens(self, attn) -> int:
        """N: the tokens that see each other in an attention layer of the float model."""
        raise NotImplementedError

    def image_fields(self) -> dict:
        """The fields of a network that say what images it takes."""
        conv, (height, width) = self.model.patch_embed.proj, self.model.patch_embed.img_size
        return dict(
            channels=conv.in_channels, height=height, width=width, patch=conv.kernel_size[0]
        )

    def head(self, step: Step, layer):
        """-> Linear, Requantize, logit scale"""
        linear, scaling, acc_scale, logit_scale = build_head(
            step.name, *weight_and_bias(layer), *self.input(step)
        )
        self.scales |= {step.acc: Scale(acc_scale), step.name: Scale(logit_scale)}
        return linear, scaling, logit_scale

    def width(self, stream: str) -> int:
        """Bits of a residual stream. The one that Swin starts with is the output of a LayerNorm."""
        normed = self.steps.by_tensor[stream].role is Role.NORMED
        return INT8.width if normed else self.config.stream_width

    def format(self, name: str) -> tuple[float, int]:
        """Scale and zero point of a tensor with one scale."""
        return float(self.scales[name].scale), self.scales[name].zero

    def input(self, step: Step):
        """What build_linear wants to know of its input, and the bits of its weights."""
        scale, zero = self.format(step.source)
        mean, moments = self.means.get(step.source), None
        if gram := self.grams.get(step.source):
            # what the bias takes is not in the weights' error
            mean = scale * (gram.mean - zero) if self.config.bias_correction else None
            moments = gram.about(zero) if mean is None else gram.covariance
        return scale, zero, self.config.weight_bits, mean, moments

    def patch_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """(C, K), (C,): the convolution over codes pixel - 128 instead of normalized pixels.

        normalized = ((code + 128) / 255 - mean) / std
        """
        conv = self.model.patch_embed.proj
        mean, std = (np.asarray(v, np.float64).reshape(1, -1, 1, 1) for v in (self.mean, self.std))
        weight = array(conv.weight)
        bias = 0 if conv.bias is None else array(conv.bias)
        bias = bias + ordered_sum((weight * (128 / 255 - mean) / std).reshape(len(weight), -1))
        return (weight / (255 * std)).reshape(len(weight), -1), bias

    def linear(self, step: Step, weight, bias, width: int):
        """Linear and per-channel Requantize."""
        linear, acc_scale = build_linear(step.name, weight, bias, *self.input(step))
        self.scales[step.acc] = Scale(acc_scale)
        out = self.scales[step.name]
        return linear, build_requantize(step.name, acc_scale / out.scale, width, out.zero)

    def norm(self, step: Step, layer, tokens: int = 1):
        """LayerNorm of a token of the stream, or of `tokens` of them side by side."""
        gamma, beta = array(layer.weight), array(layer.bias) if layer.bias is not None else 0
        beta = np.broadcast_to(beta, gamma.shape)
        source = self.scales[step.source]
        factor = np.broadcast_to(source.factor, len(gamma) // tokens)
        source = replace(source, factor=np.tile(factor, tokens))
        return build_layernorm(
            step.name, gamma, beta, layer.eps, source, self.width(step.source),
            self.scales[step.name],
        )  # fmt: skip

    def residual(self, step: Step, x: Scale, x_width: int, branch: str, channels: int):
        config = self.config
        y, out = self.scales[branch], self.scales[step.name]
        return build_residual(
            step.name, x, x_width, y, config.branch_width, out, config.stream_width, channels
        )

    def stream_add(self, step: Step, channels: int):
        stream, branch = step.reads
        return self.residual(step, self.scales[stream], self.width(stream), branch, channels)

    def block(self, steps: BlockSteps, block) -> Block:
        config = self.config

        def linear(step: Step, layer, width: int):
            return self.linear(step, *weight_and_bias(layer), width)

        qkv = linear(steps.qkv, block.attn.qkv, INT8.width)
        attention = self.attention(steps, block.attn)
        proj = linear(steps.proj, block.attn.proj, config.branch_width)
        fc1 = linear(steps.fc1, block.mlp.fc1, INT16.width)
        fc2 = linear(steps.fc2, block.mlp.fc2, config.branch_width)
        gelu, channels = steps.gelu.name, len(block.norm1.weight)
        return Block(
            heads=block.attn.num_heads,
            norm1=self.norm(steps.norm1, block.norm1),
            qkv=qkv[0],
            qkv_requantize=qkv[1],
            attention=attention,
            proj=proj[0],
            proj_requantize=proj[1],
            residual1=self.stream_add(steps.residual1, channels),
            norm2=self.norm(steps.norm2, block.norm2),
            fc1=fc1[0],
            fc1_requantize=fc1[1],
            gelu=build_gelu(gelu, self.scales[steps.fc1.name], self.scales[gelu]),
            fc2=fc2[0],
            fc2_requantize=fc2[1],
            residual2=self.stream_add(steps.residual2, channels),
        )

    def attention(self, steps: BlockSteps, attn) -> Attention:
        """Requantizers and table between q, k, v and context."""
        config, scores, contexts = self.config, steps.score, steps.context
        head_dim, tokens = attn.qkv.out_features // (3 * attn.num_heads), self.tokens(attn)
        prove(scores.name, "the accumulator", LARGEST_OPERAND**2 * head_dim, ACC)
        prove(contexts.name, "the accumulator", LARGEST_OPERAND * UINT8.max * tokens, ACC)
        # one scale per third of the columns
        q, k, v = self.scales[steps.qkv.name].scale.reshape(3, -1)[:, 0]
        score, context = self.scales[scores.name], self.scales[contexts.name]
        score_acc = q * k * attn.scale
        codes = MODES[config.attention]
        self.scales[scores.acc] = Scale(score_acc)
        self.scales[steps.softmax.name] = Scale(1, codes=codes.name)
        if codes.unit:  # else a row's own sum is the unit
            self.scales[contexts.acc] = Scale(v / codes.unit)
        context_acc = v / (codes.unit or 1)
        if config.normalizes_rows:
            context_acc = v / (1 << CONTEXT_FRACTION)
            self.scales[contexts.normalized] = Scale(context_acc)
        table = softmax_table(steps.softmax.name, codes, config.softmax_table, float(score.scale))
        return Attention(
            build_requantize(scores.name, score_acc / score.scale, 8, score.zero),
            Softmax(table, config.attention, config.normalizes_rows),
            build_requantize(contexts.name, context_acc / context.scale, 8, context.zero),
        )
