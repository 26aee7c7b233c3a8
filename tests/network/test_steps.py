"""The list of a network's steps: its names and order, spelled out once by hand and by the walk."""

import subprocess
import sys

import pytest

from fqvit_hw import QuantizedModel, units
from fqvit_hw.data import digits
from fqvit_hw.network.step import Operation, Role
from fqvit_hw.network.steps import steps_of_names, swin_steps, vit_steps

MADE_BY = {
    Operation.LINEAR: units.Linear,
    Operation.LAYERNORM: units.LayerNorm,
    Operation.SCORE: units.Requantize,
    Operation.SOFTMAX: units.Softmax,
    Operation.CONTEXT: units.Requantize,
    Operation.GELU: units.Gelu,
    Operation.RESIDUAL: units.Residual,
    Operation.POOL: units.Pool,
}
BLOCK = [
    "norm1", "qkv.acc", "qkv", "attn.score.acc", "attn.score", "attn.softmax", "attn.context.acc",
    "attn.row_reciprocal", "attn.row_shift", "attn.context.normalized", "attn.context",
    "proj.acc", "proj", "residual1", "norm2", "fc1.acc", "fc1", "gelu", "fc2.acc", "fc2",
    "residual2",
]  # fmt: skip


def block(name: str) -> list[str]:
    return [f"{name}.{part}" for part in BLOCK]


def traced(steps) -> list[str]:
    return [tensor for step in steps for tensor in step.tensors()]


def test_names_of_a_vit_in_order():
    assert traced(vit_steps(2)) == [
        "image", "patch_embed.acc", "patch_embed", "embed", *block("blocks.0"), *block("blocks.1"),
        "norm", "head.acc", "head",
    ]  # fmt: skip


def test_names_of_a_swin_in_order():
    assert traced(swin_steps((1, 2))) == [
        "image", "patch_embed.conv.acc", "patch_embed.conv", "patch_embed.norm",
        *block("layers.0.blocks.0"),
        "layers.1.downsample.norm", "layers.1.downsample.reduction.acc",
        "layers.1.downsample.reduction",
        *block("layers.1.blocks.0"), *block("layers.1.blocks.1"),
        "norm", "pool.acc", "pool", "head.acc", "head",
    ]  # fmt: skip


def test_without_row_norm_three_tensors_are_missing():
    context = vit_steps(1).blocks[0].context
    assert context.tensors(row_norm=False) == (context.acc, context.name)
    assert set(context.tensors()) - set(context.tensors(row_norm=False)) == {
        "blocks.0.attn.row_reciprocal", "blocks.0.attn.row_shift",
        "blocks.0.attn.context.normalized",
    }  # fmt: skip


@pytest.mark.parametrize("steps", [vit_steps(3), swin_steps((2, 1, 3))])
def test_a_step_reads_what_stands_before_it(steps):
    made = {}
    for step in steps:
        assert step.name not in made
        assert all(name in made for name in step.reads), step
        assert bool(step.reads) == (step.role is not Role.IMAGE)
        if step.operation is Operation.LAYERNORM:  # the stream; Swin's first is a LayerNorm's
            source = made[step.source]
            assert source.role is Role.STREAM or source is steps.patch_embed_norm
        if step.operation is Operation.RESIDUAL:
            *stream, branch = (made[name].role for name in step.reads)
            assert branch is Role.BRANCH and step.role is Role.STREAM
            assert stream in ([], [Role.STREAM], [Role.NORMED])
        made[step.name] = step
    assert [b.name for b in steps.blocks] == list(dict.fromkeys(s.block for s in steps if s.block))
    assert all(step.block == b.name for b in steps.blocks for step in b)


READS = {  # within a block; "stream" is what enters it
    "norm1": ["stream"],
    "qkv": ["norm1"],
    "attn.score": ["qkv"],
    "attn.softmax": ["attn.score"],
    "attn.context": ["attn.softmax", "qkv"],
    "proj": ["attn.context"],
    "residual1": ["stream", "proj"],
    "norm2": ["residual1"],
    "fc1": ["norm2"],
    "gelu": ["fc1"],
    "fc2": ["gelu"],
    "residual2": ["residual1", "fc2"],
}


def test_what_the_steps_of_a_block_read():
    found = {step.name: step.reads for step in vit_steps(2).blocks[1]}
    names = {name: f"blocks.1.{name}" for name in READS} | {"stream": "blocks.0.residual2"}
    assert found == {names[step]: tuple(map(names.get, reads)) for step, reads in READS.items()}


def test_what_reads_a_stage():
    steps = swin_steps((2, 1))
    first, second = steps.stages
    assert first.merge is None and first.blocks[0].norm1.source == steps.patch_embed_norm.name
    assert second.merge.norm.source == first.output.name == "layers.0.blocks.1.residual2"
    assert second.blocks[0].norm1.source == second.merge.reduction.name
    assert second.blocks[0].residual1.reads[0] == second.merge.reduction.name
    assert steps.norm.source == second.output.name and steps.head.source == steps.pool.name


def parameters_are_there(network, steps):
    for step in steps:
        if step.role is Role.IMAGE:
            continue
        assert isinstance(step.parameters(network), MADE_BY[step.operation]), step
        if step.operation is Operation.LINEAR:
            scaling = step.scaling(network)
            assert isinstance(scaling, units.Requantize)
            assert len(scaling.multiplier) == len(step.parameters(network).weight)


def test_parameters_of_a_vit():
    network = QuantizedModel.load(digits.NETWORK_FILE).network
    steps = vit_steps(len(network.blocks))
    parameters_are_there(network, steps)
    assert steps.blocks[1].norm2.parameters(network) is network.blocks[1].norm2
    assert steps.blocks[1].fc1.scaling(network) is network.blocks[1].fc1_requantize
    assert steps.blocks[0].context.parameters(network) is network.blocks[0].attention.context


def test_parameters_of_a_swin():
    pytest.importorskip("torch", reason="calibration needs torch")
    from tests.models import tiny_quantized_swin

    network = tiny_quantized_swin().network
    steps = swin_steps(tuple(map(len, network.stages)))
    parameters_are_there(network, steps)
    last = network.stages[1][1].block
    assert steps.stages[1].blocks[1].proj.parameters(network) is last.proj
    assert steps.stages[1].merge.reduction.parameters(network) is network.merges[0].reduction


@pytest.mark.parametrize("steps", [vit_steps(12), vit_steps(1), swin_steps((2, 1, 11)),
                                   swin_steps((1,))])  # fmt: skip
def test_depths_are_found_from_the_names_of_a_results_file(steps):
    assert steps_of_names({step.name: 0.0 for step in steps}) is steps
    assert steps_of_names([step.name for step in steps if step.role is Role.STREAM]) is steps


def test_names_of_something_else():
    with pytest.raises(ValueError, match="names are those of no network"):
        steps_of_names({"blocks.0.norm1": 1.0})


def test_the_step_of_every_tensor():
    steps = swin_steps((1, 1))
    assert list(steps.by_tensor) == traced(steps)
    score = steps.by_tensor["layers.1.blocks.0.attn.score.acc"]
    assert score is steps.stages[1].blocks[0].score and score.label == "1.0.attn.score"
    for name in ("row_reciprocal", "row_shift"):
        assert steps.by_tensor[f"layers.1.blocks.0.attn.{name}"].role is Role.CONTEXT


def test_imports_no_torch():
    code = "import sys, fqvit_hw.network.steps; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
