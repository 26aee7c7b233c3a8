"""From a float model and the scales of its tensors to the integer network."""

from __future__ import annotations

import numpy as np

from ..config import QuantConfig
from ..formats import (
    ACC,
    BITSHIFT_FRACTION,
    INT8,
    INT16,
    MAX_TOKENS,
    UINT8,
    IntFormat,
    saturate,
)
from ..network import Block, VisionTransformer
from ..scale import Scale
from ..units import Attention, Softmax
from .choose import symmetric
from .fixed_point import (
    LARGEST_OPERAND,
    build_head,
    build_layernorm,
    build_linear,
    build_requantize,
    build_residual,
    prove,
)
from .tables import build_gelu, exponential_table


def array(parameter) -> np.ndarray:
    """A torch parameter as float64."""
    return parameter.detach().double().cpu().numpy()


def weight_and_bias(layer) -> tuple[np.ndarray, np.ndarray]:
    """float64 (out, in), (out,) of a Linear; zeros where it has no bias."""
    weight = array(layer.weight)
    return weight, np.zeros(len(weight)) if layer.bias is None else array(layer.bias)


class Builder:
    """Builds one network; `scales` gains the scale of every accumulator on the way."""

    def __init__(self, model, scales: dict[str, Scale], config: QuantConfig, mean, std):
        self.model, self.config, self.mean, self.std = model, config, mean, std
        self.scales = dict(scales)
        self.channels = model.embed_dim

    def network(self) -> tuple[VisionTransformer, float, dict[str, Scale]]:
        """Returns the network, its logit scale and the scales of all traced tensors."""
        model, conv = self.model, self.model.patch_embed.proj
        tokens = model.pos_embed.shape[1]
        if tokens > MAX_TOKENS:
            raise ValueError(f"softmax is proven for {MAX_TOKENS} tokens, the model has {tokens}")
        embed = self.linear("patch_embed", *self.patch_weights(), "image", self.config.branch_width)
        pos, pos_scale = self.positions()
        branch = self.scales["patch_embed"]
        cls = np.rint(array(model.cls_token)[0, 0] / branch.scale).astype(np.int64) + branch.zero
        add = self.residual("embed", pos_scale, 8, "patch_embed")
        blocks, stream = [], "embed"
        for i, block in enumerate(model.blocks):
            blocks.append(self.block(f"blocks.{i}", block, stream))
            stream = f"blocks.{i}.residual2"
        norm = self.norm("norm", model.norm, stream)
        head, head_requantize, acc_scale, logit_scale = build_head(
            "head", *weight_and_bias(model.head), *self.format("norm")
        )
        self.scales |= {"head.acc": Scale(acc_scale), "head": Scale(logit_scale)}
        height, width = model.patch_embed.img_size
        network = VisionTransformer(
            channels=conv.in_channels,
            height=height,
            width=width,
            patch=conv.kernel_size[0],
            patch_embed=embed[0],
            patch_embed_requantize=embed[1],
            cls_token=saturate(cls, IntFormat(self.config.branch_width)),
            pos_embed=pos,
            embed=add,
            blocks=tuple(blocks),
            norm=norm,
            head=head,
            head_requantize=head_requantize,
        )
        return network, logit_scale, self.scales

    def format(self, name: str) -> tuple[float, int]:
        """Scale and zero point of a tensor with one scale."""
        return float(self.scales[name].scale), self.scales[name].zero

    def patch_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """(C, K), (C,): the convolution over codes pixel - 128 instead of normalized pixels.

        normalized = ((code + 128) / 255 - mean) / std
        """
        conv = self.model.patch_embed.proj
        mean, std = (np.asarray(v, np.float64).reshape(1, -1, 1, 1) for v in (self.mean, self.std))
        weight = array(conv.weight)
        bias = 0 if conv.bias is None else array(conv.bias)
        bias = bias + (weight * (128 / 255 - mean) / std).sum((1, 2, 3))
        return (weight / (255 * std)).reshape(len(weight), -1), bias

    def positions(self) -> tuple[np.ndarray, Scale]:
        """int8 (N, C), symmetric, and its scale."""
        pos = array(self.model.pos_embed)[0]
        scale = Scale(symmetric(pos.min(), pos.max(), INT8))
        return saturate(np.rint(pos / scale.scale).astype(np.int64), INT8), scale

    def linear(self, name: str, weight, bias, source: str, width: int):
        """Linear and per-channel Requantize from the tensor `source` to the tensor `name`."""
        linear, acc_scale = build_linear(name, weight, bias, *self.format(source))
        self.scales[f"{name}.acc"] = Scale(acc_scale)
        out = self.scales[name]
        return linear, build_requantize(name, acc_scale / out.scale, width, out.zero)

    def norm(self, name: str, layer, stream: str):
        gamma, beta = array(layer.weight), array(layer.bias) if layer.bias is not None else 0
        beta = np.broadcast_to(beta, gamma.shape)
        width, out = self.config.stream_width, self.scales[name]
        return build_layernorm(name, gamma, beta, layer.eps, self.scales[stream], width, out)

    def residual(self, name: str, x: Scale, x_width: int, branch: str):
        config = self.config
        y, out = self.scales[branch], self.scales[name]
        return build_residual(
            name, x, x_width, y, config.branch_width, out, config.stream_width, self.channels
        )

    def block(self, name: str, block, stream: str) -> Block:
        """stream: name of the residual stream that enters."""
        config = self.config

        def linear(part, layer, source, width):
            return self.linear(f"{name}.{part}", *weight_and_bias(layer), source, width)

        qkv = linear("qkv", block.attn.qkv, f"{name}.norm1", 8)
        attention = self.attention(name, block.attn)
        proj = linear("proj", block.attn.proj, f"{name}.attn.context", config.branch_width)
        fc1 = linear("fc1", block.mlp.fc1, f"{name}.norm2", INT16.width)
        fc2 = linear("fc2", block.mlp.fc2, f"{name}.gelu", config.branch_width)
        add1, add2 = f"{name}.residual1", f"{name}.residual2"
        width = config.stream_width
        return Block(
            heads=block.attn.num_heads,
            norm1=self.norm(f"{name}.norm1", block.norm1, stream),
            qkv=qkv[0],
            qkv_requantize=qkv[1],
            attention=attention,
            proj=proj[0],
            proj_requantize=proj[1],
            residual1=self.residual(add1, self.scales[stream], width, f"{name}.proj"),
            norm2=self.norm(f"{name}.norm2", block.norm2, add1),
            fc1=fc1[0],
            fc1_requantize=fc1[1],
            gelu=build_gelu(f"{name}.gelu", config.gelu_index_width, self.scales[f"{name}.gelu"]),
            fc2=fc2[0],
            fc2_requantize=fc2[1],
            residual2=self.residual(add2, self.scales[add1], width, f"{name}.fc2"),
        )

    def attention(self, name: str, attn) -> Attention:
        """Requantizers and table between q, k, v and context."""
        name, config = f"{name}.attn", self.config
        head_dim, tokens = attn.head_dim, self.model.pos_embed.shape[1]
        prove(f"{name}.score", "the accumulator", LARGEST_OPERAND**2 * head_dim, ACC)
        prove(f"{name}.context", "the accumulator", LARGEST_OPERAND * UINT8.max * tokens, ACC)
        # one scale per third of the columns
        q, k, v = self.scales[name.removesuffix("attn") + "qkv"].scale.reshape(3, -1)[:, 0]
        score, context = self.scales[f"{name}.score"], self.scales[f"{name}.context"]
        score_acc = q * k * attn.scale
        uniform = config.attention == "uniform8"
        context_acc = v / UINT8.max if uniform else v / (1 << BITSHIFT_FRACTION)
        self.scales[f"{name}.score.acc"] = Scale(score_acc)
        self.scales[f"{name}.context.acc"] = Scale(context_acc)
        if config.normalizes_rows:
            self.scales[f"{name}.context.normalized"] = Scale(context_acc)
        table = exponential_table(f"{name}.softmax", config.exponential, float(score.scale))
        return Attention(
            build_requantize(f"{name}.score", score_acc / score.scale, 8, score.zero),
            Softmax(table, config.attention, config.normalizes_rows),
            build_requantize(f"{name}.context", context_acc / context.scale, 8, context.zero),
        )
