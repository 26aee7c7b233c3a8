"""From a float model and the scales of its tensors to the integer network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..config import QuantConfig
from ..errors import UserError
from ..formats import ACC, BITSHIFT_FRACTION, INT8, INT16, MAX_TOKENS, UINT8, IntFormat, saturate
from ..network import Block, PatchMerging, SwinBlock, SwinTransformer, VisionTransformer
from ..network.scale import Scale
from ..network.swin import MERGED
from ..units import Attention, Pool, Softmax
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
    """What the networks have in common; `scales` gains the scale of every accumulator on the way.

    Subclasses build one architecture: network() -> the network and its logit scale.
    """

    def __init__(self, model, scales: dict[str, Scale], means, config: QuantConfig, mean, std):
        self.model, self.config, self.mean, self.std = model, config, mean, std
        self.means = means if config.bias_correction else {}
        self.scales = dict(scales)

    def image_fields(self) -> dict:
        """The fields of a network that say what images it takes."""
        conv, (height, width) = self.model.patch_embed.proj, self.model.patch_embed.img_size
        return dict(
            channels=conv.in_channels, height=height, width=width, patch=conv.kernel_size[0]
        )

    def head(self, layer, source: str):
        """-> Linear, Requantize, logit scale"""
        linear, scaling, acc_scale, logit_scale = build_head(
            "head", *weight_and_bias(layer), *self.input(source)
        )
        self.scales |= {"head.acc": Scale(acc_scale), "head": Scale(logit_scale)}
        return linear, scaling, logit_scale

    def width(self, stream: str) -> int:
        """Bits of a residual stream. The one that Swin starts with is the output of a LayerNorm."""
        return INT8.width if stream == "patch_embed.norm" else self.config.stream_width

    def format(self, name: str) -> tuple[float, int]:
        """Scale and zero point of a tensor with one scale."""
        return float(self.scales[name].scale), self.scales[name].zero

    def input(self, source: str):
        """What build_linear wants to know of its input, and the bits of its weights."""
        return *self.format(source), self.config.weight_bits, self.means.get(source)

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

    def linear(self, name: str, weight, bias, source: str, width: int):
        """Linear and per-channel Requantize from the tensor `source` to the tensor `name`."""
        linear, acc_scale = build_linear(name, weight, bias, *self.input(source))
        self.scales[f"{name}.acc"] = Scale(acc_scale)
        out = self.scales[name]
        return linear, build_requantize(name, acc_scale / out.scale, width, out.zero)

    def norm(self, name: str, layer, stream: str, tokens: int = 1):
        """LayerNorm of the tensor `stream`, or of `tokens` tokens of it side by side."""
        gamma, beta = array(layer.weight), array(layer.bias) if layer.bias is not None else 0
        beta = np.broadcast_to(beta, gamma.shape)
        source = self.scales[stream]
        factor = np.broadcast_to(source.factor, len(gamma) // tokens)
        source = replace(source, factor=np.tile(factor, tokens))
        return build_layernorm(
            name, gamma, beta, layer.eps, source, self.width(stream), self.scales[name]
        )

    def residual(self, name: str, x: Scale, x_width: int, branch: str, channels: int):
        config = self.config
        y, out = self.scales[branch], self.scales[name]
        return build_residual(
            name, x, x_width, y, config.branch_width, out, config.stream_width, channels
        )

    def stream_add(self, name: str, stream: str, branch: str, channels: int):
        return self.residual(name, self.scales[stream], self.width(stream), branch, channels)

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
        channels = len(block.norm1.weight)
        return Block(
            heads=block.attn.num_heads,
            norm1=self.norm(f"{name}.norm1", block.norm1, stream),
            qkv=qkv[0],
            qkv_requantize=qkv[1],
            attention=attention,
            proj=proj[0],
            proj_requantize=proj[1],
            residual1=self.stream_add(add1, stream, f"{name}.proj", channels),
            norm2=self.norm(f"{name}.norm2", block.norm2, add1),
            fc1=fc1[0],
            fc1_requantize=fc1[1],
            gelu=build_gelu(f"{name}.gelu", config.gelu_index_width, self.scales[f"{name}.gelu"]),
            fc2=fc2[0],
            fc2_requantize=fc2[1],
            residual2=self.stream_add(add2, add1, f"{name}.fc2", channels),
        )

    def attention(self, name: str, attn) -> Attention:
        """Requantizers and table between q, k, v and context."""
        name, config = f"{name}.attn", self.config
        head_dim, tokens = attn.qkv.out_features // (3 * attn.num_heads), self.tokens(attn)
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
        table = exponential_table(f"{name}.softmax", config.softmax_table, float(score.scale))
        return Attention(
            build_requantize(f"{name}.score", score_acc / score.scale, 8, score.zero),
            Softmax(table, config.attention, config.normalizes_rows),
            build_requantize(f"{name}.context", context_acc / context.scale, 8, context.zero),
        )


class VitBuilder(Builder):
    """ViT and DeiT."""

    def network(self) -> tuple[VisionTransformer, float]:
        model, width = self.model, self.config.branch_width
        prove_tokens(model.pos_embed.shape[1])
        embed = self.linear("patch_embed", *self.patch_weights(), "image", width)
        pos, pos_scale = self.positions()
        branch = self.scales["patch_embed"]
        cls = np.rint(array(model.cls_token)[0, 0] / branch.scale).astype(np.int64) + branch.zero
        add = self.residual("embed", pos_scale, INT8.width, "patch_embed", model.embed_dim)
        blocks, stream = [], "embed"
        for i, block in enumerate(model.blocks):
            blocks.append(self.block(f"blocks.{i}", block, stream))
            stream = f"blocks.{i}.residual2"
        norm = self.norm("norm", model.norm, stream)
        head, head_requantize, logit_scale = self.head(model.head, "norm")
        network = VisionTransformer(
            **self.image_fields(),
            patch_embed=embed[0],
            patch_embed_requantize=embed[1],
            cls_token=saturate(cls, IntFormat(width)),
            pos_embed=pos,
            embed=add,
            blocks=tuple(blocks),
            norm=norm,
            head=head,
            head_requantize=head_requantize,
        )
        return network, logit_scale

    def tokens(self, attn) -> int:
        return self.model.pos_embed.shape[1]

    def positions(self) -> tuple[np.ndarray, Scale]:
        """int8 (N, C), symmetric, and its scale."""
        pos = array(self.model.pos_embed)[0]
        scale = Scale(symmetric(pos.min(), pos.max(), INT8))
        return saturate(np.rint(pos / scale.scale).astype(np.int64), INT8), scale


class SwinBuilder(Builder):
    """Swin Transformer."""

    def network(self) -> tuple[SwinTransformer, float]:
        model = self.model
        conv = self.stream_layer("patch_embed.conv", *self.patch_weights(), "image")
        stream = "patch_embed.norm"
        norm = self.norm(stream, model.patch_embed.norm, "patch_embed.conv")
        stages, merges = [], []
        for i, stage in enumerate(model.layers):
            if i:
                name = f"layers.{i}.downsample"
                merges.append(self.merge(name, stage.downsample, stream))
                stream = f"{name}.reduction"
            blocks = []
            for j, block in enumerate(stage.blocks):
                blocks.append(self.swin_block(f"layers.{i}.blocks.{j}", block, stream))
                stream = f"layers.{i}.blocks.{j}.residual2"
            stages.append(tuple(blocks))
        last_norm = self.norm("norm", model.norm, stream)
        pool = self.pool(int(np.prod(model.layers[-1].output_resolution)))
        head, head_requantize, logit_scale = self.head(model.head.fc, "pool")
        network = SwinTransformer(
            **self.image_fields(),
            pad=np.rint(np.multiply(255, self.mean)).astype(np.int64) + INT8.min,
            patch_embed=conv[0],
            patch_embed_requantize=conv[1],
            patch_embed_norm=norm,
            stages=tuple(stages),
            merges=tuple(merges),
            norm=last_norm,
            pool=pool,
            head=head,
            head_requantize=head_requantize,
        )
        return network, logit_scale

    def tokens(self, attn) -> int:
        prove_tokens(attn.window_area)
        return attn.window_area

    def stream_layer(self, name: str, weight, bias, source: str):
        """Linear and Requantize that write a residual stream, PTF factors in the multipliers."""
        linear, acc_scale = build_linear(name, weight, bias, *self.input(source))
        self.scales[f"{name}.acc"] = Scale(acc_scale)
        out, width = self.scales[name], self.width(name)
        step = out.scale * np.exp2(out.factor)
        return linear, build_requantize(name, acc_scale / step, width, out.zero)

    def merge(self, name: str, layer, stream: str) -> PatchMerging:
        norm = self.norm(f"{name}.norm", layer.norm, stream, tokens=MERGED)
        weight, bias = weight_and_bias(layer.reduction)
        reduction = self.stream_layer(f"{name}.reduction", weight, bias, f"{name}.norm")
        factor = np.broadcast_to(self.scales[f"{name}.reduction"].factor, len(weight))
        return PatchMerging(norm, *reduction, factor)

    def swin_block(self, name: str, block, stream: str) -> SwinBlock:
        attn, plain = block.attn, self.block(name, block, stream)
        bias = array(attn._get_rel_pos_bias())[0]  # (H, N, N)
        step = float(self.scales[f"{name}.attn.score.acc"].scale)
        steps = np.rint(bias / step)
        prove(f"{name}.attn.score", "the bias", int(steps.max()), ACC, int(steps.min()))
        return SwinBlock(*block.window_size, *block.shift_size, steps.astype(np.int64), plain)

    def pool(self, tokens: int) -> Pool:
        scale, zero = self.format("norm")
        out = self.scales["pool"]
        self.scales["pool.acc"] = Scale(scale / tokens)
        scaling = build_requantize("pool", scale / tokens / out.scale, INT8.width, out.zero)
        return Pool(tokens, zero, scaling)


def prove_tokens(tokens: int) -> None:
    if tokens > MAX_TOKENS:
        raise UserError(f"softmax is proven for {MAX_TOKENS} tokens, the model has {tokens}")


def build_network(model, scales: dict[str, Scale], means, config: QuantConfig, mean, std):
    """-> the integer network of a timm model, its logit scale and the scales of all tensors.

    means: of the inputs of the Linears, by name, for the bias correction.
    """
    builder = (SwinBuilder if hasattr(model, "layers") else VitBuilder)(
        model, scales, means, config, mean, std
    )
    network, logit_scale = builder.network()
    return network, logit_scale, builder.scales
