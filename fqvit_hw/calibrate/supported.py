"""Which models can become integers: a ViT or DeiT as timm builds it, and nothing that is not there.

Every refusal names the layer, so that nobody gets a network that computes something else.
"""

from __future__ import annotations

from .timm_compat import import_timm

import_timm()

import torch  # noqa: E402
from timm.layers import (  # noqa: E402
    Mlp,
    PatchEmbed,
    activations,
)
from timm.layers.attention import Attention  # noqa: E402
from timm.models.vision_transformer import Block, VisionTransformer  # noqa: E402
from torch import nn  # noqa: E402

Named = tuple[str, bool]  # what is unsupported, and whether the model has it


def check_supported(model) -> None:
    """Raises TypeError for another architecture, ValueError naming an unsupported layer."""
    if type(model) is not VisionTransformer:
        raise TypeError(
            f"unsupported model {type(model).__name__}: expected a timm VisionTransformer (ViT, "
            "DeiT without distillation token)"
        )
    if model.training:
        raise ValueError("the model is in training mode: call model.eval() first")
    unsupported = [*whole_model(model)]
    for i, block in enumerate(model.blocks):
        unsupported += in_block(f"blocks.{i}", block)
    for what, present in unsupported:
        if present:
            raise ValueError(f"unsupported layer {what}")
    check_finite(model)


def check_finite(model) -> None:
    """Raises ValueError with the first names of weights that hold NaN or infinity."""
    bad = [name for name, p in model.state_dict().items() if not torch.isfinite(p).all()]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise ValueError(f"weights that are not finite: {', '.join(bad[:3])}{more}")


def whole_model(model):
    """Yields (what, present) for everything outside the blocks."""
    embed, conv = model.patch_embed, model.patch_embed.proj
    yield f"patch_embed: {type(embed).__name__}", type(embed) is not PatchEmbed
    yield "dynamic image size", model.dynamic_img_size or embed.dynamic_img_pad
    square = conv.kernel_size == conv.stride and conv.kernel_size[0] == conv.kernel_size[1]
    whole = conv.padding == (0, 0) and conv.groups == 1 and embed.flatten
    yield "patch_embed.proj: only square patches that do not overlap", not (square and whole)
    yield from not_identity(model.patch_embed, "patch_embed", "norm")
    yield "a model without class token", model.cls_token is None
    yield "register tokens", model.reg_token is not None
    yield "a model without position embedding", model.pos_embed is None
    yield "no_embed_class", model.no_embed_class
    yield f"global_pool {model.global_pool!r}", model.global_pool != "token"
    yield "attn_pool", model.attn_pool is not None
    yield from not_identity(model, "", "norm_pre", "fc_norm")
    yield from not_layer_norm(model, "", "norm")
    yield from not_linear(model, "", "head")


def in_block(name: str, block):
    """Yields (what, present) for one transformer block."""
    yield f"{name}: {type(block).__name__}", type(block) is not Block
    yield from not_identity(block, name, "ls1", "ls2")
    yield from not_layer_norm(block, name, "norm1", "norm2")
    attn, mlp = block.attn, block.mlp
    yield f"{name}.attn: {type(attn).__name__}", type(attn) is not Attention
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
