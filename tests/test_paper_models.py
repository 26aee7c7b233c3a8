"""The table of the paper's models: its names and sizes are timm's."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from fqvit_hw.paper_models import (
    PAPER_MODELS,
    Family,
    SwinSize,
    VitSize,
    of_family,
    short_name,
    timm_name,
)
from fqvit_hw.timm_compat import import_timm

NEEDS_TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="the models are timm's")


def test_names():
    for short, model in PAPER_MODELS.items():
        full = model.timm
        assert timm_name(short) == timm_name(full.split(".")[0]) == timm_name(full) == full
        assert short_name(full) == short_name(short) == short
    assert timm_name("vit_base_patch16_224.dino") == "vit_base_patch16_224.dino"
    assert short_name("digits") == timm_name("digits") == "digits"


@NEEDS_TORCH
def test_the_weights_that_the_paper_measured():
    """1000 classes at 224 x 224; the augreg ViTs have a mean and std of their own."""
    timm = import_timm()
    assert len(PAPER_MODELS) == 8
    for short, model in PAPER_MODELS.items():
        full = model.timm
        cfg = timm.get_pretrained_cfg(full)
        assert cfg.tag == full.split(".")[1] and cfg.num_classes == 1000
        assert cfg.input_size == (3, 224, 224) and cfg.crop_pct == 0.9
        expected = (0.5, 0.5, 0.5) if short.startswith("vit") else (0.485, 0.456, 0.406)
        assert cfg.mean == expected


def size_of(model) -> VitSize | SwinSize:
    """What a timm model says of itself."""
    (height, width), (patch, other) = model.patch_embed.img_size, model.patch_embed.patch_size
    assert height == width and patch == other
    common = dict(
        image=height, patch=patch, colors=model.patch_embed.proj.in_channels,
        channels=model.patch_embed.proj.out_channels, classes=model.num_classes,
    )  # fmt: skip
    if hasattr(model, "layers"):
        stages = [layer.blocks for layer in model.layers]
        blocks = [block for stage in stages for block in stage]
        for i, stage in enumerate(stages):
            assert all(block.dim == common["channels"] << i for block in stage)
        ((window, side),) = {tuple(block.window_size) for block in blocks}
        assert window == side
        (head_dim,) = {block.dim // block.attn.num_heads for block in blocks}
        assert all(block.mlp.fc1.out_features == 4 * block.dim for block in blocks)
        depths = tuple(map(len, stages))
        return SwinSize(depths=depths, head_dim=head_dim, window=window, **common)
    heads, hidden = model.blocks[0].attn.num_heads, model.blocks[0].mlp.fc1.out_features
    return VitSize(depth=len(model.blocks), heads=heads, hidden=hidden, **common)


@NEEDS_TORCH
@pytest.mark.parametrize("name", PAPER_MODELS)
def test_sizes_are_those_of_timm(name):
    timm = import_timm()
    import torch

    with torch.device("meta"):  # no memory, no initialization
        model = timm.create_model(PAPER_MODELS[name].timm)
    assert size_of(model) == PAPER_MODELS[name].size


def test_families():
    assert [*of_family(Family.VIT), *of_family(Family.SWIN)] == list(PAPER_MODELS)
    assert len(of_family(Family.SWIN)) == 3


def test_the_table_needs_neither_torch_nor_timm():
    code = (
        "import sys, fqvit_hw.paper_models, fqvit_hw.compiler.swin\n"
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
