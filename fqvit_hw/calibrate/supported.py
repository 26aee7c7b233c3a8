"""Which models can become integers: ViT, DeiT and Swin as timm builds them, and nothing else.

Every refusal names the layer, so that nobody gets a network that computes something else.
"""

from __future__ import annotations

from ..errors import UserError, UserTypeError
from ..timm_compat import import_timm

import_timm()

import torch  # noqa: E402
from timm.layers import activations  # noqa: E402
from timm.layers.attention import Attention  # noqa: E402
from timm.layers.classifier import ClassifierHead  # noqa: E402
from timm.layers.mlp import Mlp  # noqa: E402
from timm.layers.patch_embed import PatchEmbed  # noqa: E402
from timm.models.swin_transformer import (  # noqa: E402
    PatchMerging,
    SwinTransformer,
    SwinTransformerBlock,
    WindowAttention,
)
from timm.models.vision_transformer import Block, VisionTransformer  # noqa: E402
from torch import nn  # noqa: E402

from ..network.steps import SwinSteps, VitSteps  # noqa: E402
from .float_steps import steps_of  # noqa: E402

SUPPORTED = (
    "ViT and DeiT with class token, position embedding and one Linear head, and Swin (v1), of "
    "square patches, affine LayerNorms, plain attention and an MLP with exact GELU"
)


def check_supported(model) -> None:
    """Raises TypeError for another architecture, ValueError naming an unsupported layer."""
    if type(model) not in (VisionTransformer, SwinTransformer):
        raise UserTypeError(
            f"unsupported model {type(model).__name__}: expected a timm VisionTransformer (ViT, "
            "DeiT without distillation token) or SwinTransformer"
        )
    check_settings(model)
    steps = steps_of(model)
    parts = in_swin(model, steps) if isinstance(steps, SwinSteps) else in_vit(model, steps)
    for what, present in parts:
        if present:
            raise UserError(f"unsupported layer {what}; supported are {SUPPORTED}")
    check_finite(model)


def check_settings(model) -> None:
    """Raises ValueError naming a layer in training mode, or weights of a wrong kind or place."""
    for name, module in model.named_modules():
        if module.training:
            what = name or "the model"
            raise UserError(f"{what} is in training mode: call model.eval() first")
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and weight.dtype not in (torch.float32, torch.float64):
            raise UserError(f"{name}: expected weights of float32 or float64, got {weight.dtype}")
        if weight.device.type != "cpu":
            raise UserError(f"{name}: expected weights on the CPU, got {weight.device}")


def check_finite(model) -> None:
    """Raises ValueError with the first names of weights that hold NaN or infinity."""
    bad = [name for name, p in model.state_dict().items() if not torch.isfinite(p).all()]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise UserError(f"weights that are not finite: {', '.join(bad[:3])}{more}")


def in_vit(model, steps: VitSteps):
    """Yields (what, present) for a ViT or DeiT."""
    yield from patch_embedding(model)
    yield "dynamic image size", model.dynamic_img_size or model.patch_embed.dynamic_img_pad
    yield "patch_embed.proj: patches without flatten", not model.patch_embed.flatten
    yield from not_identity(model.patch_embed, "patch_embed", "norm")
    yield "a model without class token", model.cls_token is None
    yield "register tokens", model.reg_token is not None
    yield "a model without position embedding", model.pos_embed is None
    yield "pos_embed: no position for the class token (no_embed_class)", model.no_embed_class
    yield f"global_pool {model.global_pool!r}", model.global_pool != "token"
    yield "attn_pool", model.attn_pool is not None
    yield from not_identity(model, "", "norm_pre", "fc_norm")
    yield from not_layer_norm(model, "", "norm")
    yield from not_linear(model, "", "head")
    for at, block in zip(steps.blocks, model.blocks, strict=True):
        yield from in_block(at.name, block, Block, Attention)


def in_swin(model, steps: SwinSteps):
    """Yields (what, present) for a Swin Transformer."""
    yield from patch_embedding(model)
    yield from not_layer_norm(model.patch_embed, "patch_embed", "norm")
    for stage, at in zip(model.layers, steps.stages, strict=True):
        merge = stage.downsample
        name = at.merge.name if at.merge else "layers.0.downsample"
        wanted = PatchMerging if at.merge else nn.Identity
        yield f"{name}: {type(merge).__name__}", type(merge) is not wanted
        if at.merge:
            yield from not_layer_norm(merge, name, "norm")
            yield from not_linear(merge, name, "reduction")
        for block, within in zip(stage.blocks, at.blocks, strict=True):
            yield from in_block(within.name, block, SwinTransformerBlock, WindowAttention)
    yield from not_layer_norm(model, "", "norm")
    head = model.head
    yield f"head: {type(head).__name__}", type(head) is not ClassifierHead
    yield f"global_pool {model.global_pool!r}", model.global_pool != "avg"
    yield from not_linear(head, "head", "fc")


def patch_embedding(model):
    embed, conv = model.patch_embed, model.patch_embed.proj
    yield f"patch_embed: {type(embed).__name__}", type(embed) is not PatchEmbed
    square = conv.kernel_size == conv.stride and conv.kernel_size[0] == conv.kernel_size[1]
    whole = conv.padding == (0, 0) and conv.groups == 1
    yield "patch_embed.proj: only square patches that do not overlap", not (square and whole)


def in_block(name: str, block, kind: type, attention: type):
    """Yields (what, present) for one transformer block of class `kind`."""
    yield f"{name}: {type(block).__name__}", type(block) is not kind
    yield from not_identity(block, name, "ls1", "ls2")
    yield from not_layer_norm(block, name, "norm1", "norm2")
    attn, mlp = block.attn, block.mlp
    yield f"{name}.attn: {type(attn).__name__}", type(attn) is not attention
    yield from not_identity(attn, f"{name}.attn", "q_norm", "k_norm", "norm")
    yield f"{name}.attn.gate", getattr(attn, "gate", None) is not None
    yield from not_linear(attn, f"{name}.attn", "qkv", "proj")
    yield f"{name}.mlp: {type(mlp).__name__}", type(mlp) is not Mlp
    yield from not_identity(mlp, f"{name}.mlp", "norm")
    yield from not_linear(mlp, f"{name}.mlp", "fc1", "fc2")
    exact = isinstance(mlp.act, nn.GELU) and mlp.act.approximate == "none"
    yield (
        f"{name}.mlp.act: {type(mlp.act).__name__} (only the exact GELU)",
        not (exact or type(mlp.act) is activations.GELU),
    )


def not_identity(module, prefix: str, *names: str):
    for name in names:
        layer = getattr(module, name, None)
        there = layer is not None and not isinstance(layer, nn.Identity)
        yield f"{dotted(prefix, name)}: {type(layer).__name__}", there


def not_layer_norm(module, prefix: str, *names: str):
    for name in names:
        layer = getattr(module, name)
        plain = isinstance(layer, nn.LayerNorm) and layer.elementwise_affine
        yield (
            f"{dotted(prefix, name)}: {type(layer).__name__} (only an affine LayerNorm)",
            not plain,
        )


def not_linear(module, prefix: str, *names: str):
    for name in names:
        layer = getattr(module, name)
        yield f"{dotted(prefix, name)}: {type(layer).__name__}", type(layer) is not nn.Linear


def dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
