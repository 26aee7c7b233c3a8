"""Which tensors of a results file each curve of the noise picture shows, spelled out by hand."""

from unittest.mock import MagicMock

import pytest

pytest.importorskip("matplotlib", reason="the pictures need matplotlib")

from fqvit_hw.accuracy.picture import draw_noise

BLOCK = [
    "norm1", "qkv", "attn.score", "attn.softmax", "attn.context.normalized", "attn.context", "proj",
    "residual1", "norm2", "fc1", "gelu", "fc2", "residual2",
]  # fmt: skip
VIT = ["patch_embed", "embed", *(f"blocks.0.{part}" for part in BLOCK), "norm", "head"]
SWIN = [
    "patch_embed.conv", "patch_embed.norm", *(f"layers.0.blocks.0.{part}" for part in BLOCK),
    "layers.1.downsample.norm", "layers.1.downsample.reduction",
    *(f"layers.1.blocks.0.{part}" for part in BLOCK), "norm", "pool", "head",
]  # fmt: skip
IN_BLOCK = {
    "residual stream": ["residual1", "residual2"],
    "layernorm": ["norm1", "norm2"],
    "attention map": ["attn.softmax"],
    "attention context": ["attn.context"],
    "branch (proj, fc2)": ["proj", "fc2"],
    "gelu": ["gelu"],
}
OUTSIDE = {
    "residual stream": ["embed", "patch_embed.conv", "layers.1.downsample.reduction"],
    "layernorm": ["norm", "patch_embed.norm", "layers.1.downsample.norm"],
    "branch (proj, fc2)": ["patch_embed"],
}


@pytest.mark.parametrize("names", [VIT, SWIN], ids=["vit", "swin"])
def test_curves(names):
    """A value of its own tells each tensor; an exact one (None) is left out of its curve."""
    snr = {name: float(i) for i, name in enumerate(names)} | {names[-3]: None}
    axis = MagicMock()
    draw_noise(axis, snr)
    shown = [name for name in names if not name.endswith(".normalized")]
    for call in axis.plot.call_args_list:
        label, (places, values) = call.kwargs["label"], call.args
        drawn = [names[int(value)] for value in values]
        blocks = [name[: -len("norm1")] for name in names if name.endswith("norm1")]
        expected = [f"{block}{part}" for block in blocks for part in IN_BLOCK[label]]
        expected += [name for name in OUTSIDE.get(label, []) if name in names]
        assert sorted(drawn) == sorted(name for name in expected if snr[name] is not None)
        assert [shown[place] for place in places] == drawn  # in the order of the data
    assert len(axis.plot.call_args_list) == len(IN_BLOCK)
    starts, labels = axis.set_xticks.call_args.args
    assert [shown[start] for start in starts] == [n for n in shown if n.endswith("norm1")]
    assert labels == [str(i) for i in range(len(starts))]
