"""From a float model and the scales of its tensors to the integer network."""

from __future__ import annotations

import numpy as np

from ..config import QuantConfig
from ..formats import ACC, INT8, IntFormat, saturate
from ..network import PatchMerging, SwinBlock, SwinTransformer, VisionTransformer
from ..network.scale import Scale
from ..network.step import Step
from ..network.steps import BlockSteps, MergeSteps, SwinSteps, VitSteps
from ..network.swin import MERGED
from ..units import Pool
from .builder import Builder, array, prove_tokens, weight_and_bias
from .choose import symmetric
from .fixed_point import build_linear, build_requantize, prove
from .float_steps import steps_of
from .gram import pad_codes


class VitBuilder(Builder[VitSteps]):
    """ViT and DeiT."""

    def network(self) -> tuple[VisionTransformer, float]:
        model, steps, width = self.model, self.steps, self.config.branch_width
        prove_tokens(model.pos_embed.shape[1])
        embed = self.linear(steps.patch_embed, *self.patch_weights(), width)
        pos, pos_scale = self.positions(IntFormat(self.config.stream_width))
        branch = self.scales[steps.patch_embed.name]
        cls = np.rint(array(model.cls_token)[0, 0] / branch.scale).astype(np.int64) + branch.zero
        add = self.residual(
            steps.embed, pos_scale, self.config.stream_width, steps.embed.source, model.embed_dim
        )
        blocks = tuple(map(self.block, steps.blocks, model.blocks))
        norm = self.norm(steps.norm, model.norm)
        head, head_requantize, logit_scale = self.head(steps.head, model.head)
        network = VisionTransformer(
            **self.image_fields(),
            patch_embed=embed[0],
            patch_embed_requantize=embed[1],
            cls_token=saturate(cls, IntFormat(width)),
            pos_embed=pos,
            embed=add,
            blocks=blocks,
            norm=norm,
            head=head,
            head_requantize=head_requantize,
        )
        return network, logit_scale

    def tokens(self, attn) -> int:
        return self.model.pos_embed.shape[1]

    def positions(self, fmt: IntFormat) -> tuple[np.ndarray, Scale]:
        """(N, C), symmetric, and its scale. They are the first stream: as many bits as it has."""
        pos = array(self.model.pos_embed)[0]
        scale = Scale(symmetric(pos.min(), pos.max(), fmt))
        return saturate(np.rint(pos / scale.scale).astype(np.int64), fmt), scale


class SwinBuilder(Builder[SwinSteps]):
    """Swin Transformer."""

    def network(self) -> tuple[SwinTransformer, float]:
        model, steps = self.model, self.steps
        conv = self.stream_layer(steps.patch_embed, *self.patch_weights())
        norm = self.norm(steps.patch_embed_norm, model.patch_embed.norm)
        stages, merges = [], []
        for at, stage in zip(steps.stages, model.layers, strict=True):
            if at.merge:
                merges.append(self.merge(at.merge, stage.downsample))
            stages.append(tuple(map(self.swin_block, at.blocks, stage.blocks)))
        last_norm = self.norm(steps.norm, model.norm)
        pool = self.pool(steps.pool, int(np.prod(model.layers[-1].output_resolution)))
        head, head_requantize, logit_scale = self.head(steps.head, model.head.fc)
        network = SwinTransformer(
            **self.image_fields(),
            pad=pad_codes(self.mean),
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

    def stream_layer(self, step: Step, weight, bias):
        """Linear and Requantize that write a residual stream, PTF factors in the multipliers."""
        linear, acc_scale = build_linear(step.name, weight, bias, *self.input(step))
        self.scales[step.acc] = Scale(acc_scale)
        out, width = self.scales[step.name], self.width(step.name)
        size = np.ldexp(out.scale, out.factor)  # of a step of each channel
        return linear, build_requantize(step.name, acc_scale / size, width, out.zero)

    def merge(self, steps: MergeSteps, layer) -> PatchMerging:
        norm = self.norm(steps.norm, layer.norm, tokens=MERGED)
        weight, bias = weight_and_bias(layer.reduction)
        reduction = self.stream_layer(steps.reduction, weight, bias)
        factor = np.broadcast_to(self.scales[steps.reduction.name].factor, len(weight))
        return PatchMerging(norm, *reduction, factor)

    def swin_block(self, steps: BlockSteps, block) -> SwinBlock:
        attn, plain = block.attn, self.block(steps, block)
        bias = array(attn._get_rel_pos_bias())[0]  # (H, N, N)
        codes = np.rint(bias / float(self.scales[steps.score.acc].scale))
        prove(steps.score.name, "the bias", int(codes.max()), ACC, int(codes.min()))
        (height, width), (shift_y, shift_x) = block.window_size, block.shift_size
        return SwinBlock(height, width, shift_y, shift_x, codes.astype(np.int64), plain)

    def pool(self, step: Step, tokens: int) -> Pool:
        scale, zero = self.format(step.source)
        out = self.scales[step.name]
        self.scales[step.acc] = Scale(scale / tokens)
        scaling = build_requantize(step.name, scale / tokens / out.scale, INT8.width, out.zero)
        return Pool(tokens, zero, scaling)


def build_network(model, scales: dict[str, Scale], means, grams, config: QuantConfig, mean, std):
    """-> the integer network of a timm model, its logit scale and the scales of all tensors.

    means, grams: of the inputs of the Linears, by name, for the bias correction and for the
    rounding of the weights; no grams: to the nearest.
    """
    steps, calibrated = steps_of(model), (scales, means, grams, config, mean, std)
    if isinstance(steps, SwinSteps):
        builder = SwinBuilder(model, steps, *calibrated)
    else:
        builder = VitBuilder(model, steps, *calibrated)
    network, logit_scale = builder.network()
    return network, logit_scale, builder.scales
