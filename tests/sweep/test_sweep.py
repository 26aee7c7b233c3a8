"""The sweep: its programs do the network's own MACs, its numbers are those of whole networks."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fqvit_hw.commands.cli import main
from fqvit_hw.compiler import compile_shape
from fqvit_hw.compiler.swin import schedule_swin
from fqvit_hw.compiler.swin.patterns import window_order
from fqvit_hw.compiler.vit.shape import Shape
from fqvit_hw.cycles import predict
from fqvit_hw.machine.hardware import BASE, ECP5_85K, LARGE, TINY, ULTRASCALE
from fqvit_hw.machine.isa import Opcode
from fqvit_hw.paper_models import Family, SwinSize, VitSize, of_family
from fqvit_hw.sweep import page, picture
from fqvit_hw.sweep import points as sweep

SHAPES = {hw.name: hw for hw in sweep.SHAPES}
VIT, SWIN = (
    {name: model.size for name, model in of_family(family).items()}
    for family in (Family.VIT, Family.SWIN)
)
SMALL = VitSize(image=64, channels=64, depth=6, heads=2, hidden=256, classes=10)
SMALL_SWIN = SwinSize(channels=32, depths=(2, 2), image=56, classes=10)  # 14 x 14 and 7 x 7 tokens


def macs(instructions, hw, keys: int) -> int:
    """Of a program whose channels fill whole words; keys: that an attention row has."""
    gemms = [i for i in instructions if i.opcode is Opcode.GEMM]
    return sum(
        i.rows * i.columns * (keys if i.codes else i.k_groups * i.k_tiles * hw.rows) for i in gemms
    )


# by hand: patches + blocks * (qkv, proj, MLP: 12 N C^2; attention: 2 N^2 C) + head
VIT_MACS = {
    "deit_tiny": 196 * 768 * 192 + 12 * (197 * 12 * 192**2 + 2 * 197**2 * 192) + 192 * 1000,
    "deit_base": 196 * 768 * 768 + 12 * (197 * 12 * 768**2 + 2 * 197**2 * 768) + 768 * 1000,
}


@pytest.mark.parametrize("name", VIT_MACS)
def test_vit_does_its_own_macs(name):
    program = compile_shape(Shape.of_size(VIT[name]), LARGE)
    assert macs(program.instructions, LARGE, 197) == program.macs == VIT_MACS[name]


def swin_macs(size: SwinSize) -> int:
    """Patches, blocks (attention within windows of 49 tokens), patch merging, head."""
    side, C = size.image // 4, size.channels
    total = side**2 * 48 * C
    for n, depth in enumerate(size.depths):
        if n:
            side, C = side // 2, 2 * C
            total += side**2 * (2 * C) * C
        total += depth * side**2 * (12 * C * C + 2 * 49 * C)
    return total + C * size.classes


@pytest.mark.parametrize("name", SWIN)
def test_swin_macs(name):
    assert SWIN[name].macs == swin_macs(SWIN[name])
    published = {"swin_tiny": 4.5e9, "swin_small": 8.7e9, "swin_base": 15.4e9}[name]
    assert abs(SWIN[name].macs / published - 1) < 0.01


MACHINES = {  # 16 rows: all channels fill whole words; and what a stage's plan must be
    "as it is": ({}, 0, dict(resident=True, group=4)),
    "two slots": (dict(stream=300, acts=550), 0, dict(resident=False, slots=2, context=True)),
    "one slot": (dict(stream=300), 0, dict(resident=False, slots=1, group=3)),
    "stream in parts": (dict(stream=80), 0, dict(resident=False, part=40)),
    "MLP in blocks": (dict(acts=1500), 0, dict(part=196, inner=137)),
    "context stored": (dict(acts=460), 1, dict(context=False)),
    "keys of one window": (dict(tiles=32, ring=16), 0, {}),
}


@pytest.mark.parametrize("name", MACHINES)
def test_swin_schedule_does_its_own_macs(name):
    sizes, stage, expected = MACHINES[name]
    hw = replace(BASE, **sizes)
    schedule = schedule_swin(SMALL_SWIN, hw)
    plan = schedule.plans[stage]
    assert {key: getattr(plan, key) for key in expected} == expected
    assert macs(schedule.instructions, hw, 49) == SMALL_SWIN.macs
    prediction = predict(schedule.instructions, hw)
    assert prediction.cycles > prediction.busy >= SMALL_SWIN.macs / hw.tile_bytes


def test_windows_hold_every_token_once():
    order = window_order(14, 7, 3)
    assert sorted(order) == list(range(196))
    first = order[:49].reshape(7, 7)
    np.testing.assert_array_equal(first[0], 3 * 14 + 3 + np.arange(7))
    assert window_order(14, 7, 0)[49] == 7


def test_a_swin_that_does_not_fit():
    with pytest.raises(ValueError, match="2048 channels"):
        schedule_swin(SWIN["swin_base"], BASE)
    with pytest.raises(ValueError, match="does not fit"):
        schedule_swin(SMALL_SWIN, replace(BASE, acts=150))


@pytest.mark.parametrize("hw", [ECP5_85K, BASE], ids=lambda hw: hw.name)
def test_further_blocks_cost_the_difference(hw):
    """The counters made from two shallow networks are those of the whole one."""
    size = replace(VIT["deit_tiny"], depth=4)
    whole = predict(compile_shape(Shape.of_size(size), hw).instructions, hw)
    found = sweep.vit(size, hw)
    assert abs(found.pop("bytes_read") - whole.bytes_read) <= 256 * 2  # instructions, by fours
    for name, value in found.items():
        assert name == "macs" or value == getattr(whole, name), name


def test_more_multipliers_never_take_more_cycles():
    shapes = sweep.SHAPES
    assert [hw.name for hw in sorted(shapes, key=lambda hw: hw.multipliers)] == list(SHAPES)
    for measure, size in (
        (sweep.vit, replace(VIT["deit_tiny"], depth=2)),
        (sweep.swin, SMALL_SWIN),
    ):
        cycles = [measure(size, hw)["cycles"] for hw in shapes[3:]]
        assert cycles == sorted(cycles, reverse=True)


@pytest.mark.parametrize(
    ("hw", "number"),
    [(TINY, 16 + 5 + 16 + 1), (ECP5_85K, 147), (BASE, 256 + 20 + 16 + 1),
     (ULTRASCALE, 128 + 20 + 16 + 1)],
)  # fmt: skip
def test_multipliers(hw, number):
    assert hw.multipliers == number


def test_ecp5_has_as_many_multipliers():
    assert ECP5_85K.multipliers <= 156


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "sizes", lambda: {"deit_tiny": SMALL, "swin_tiny": SMALL_SWIN})
    paths = {kind: tmp_path / f"sweep.{kind}" for kind in ("json", "markdown")}
    options = [text for kind, path in paths.items() for text in (f"--{kind}", str(path))]
    models = ["--models", "deit_tiny", "swin_tiny", "--shapes", "16x16", "32x32", "--jobs", "1"]
    assert main(["sweep", *models, *options]) == 0
    points = json.loads(paths["json"].read_text())["points"]
    assert [(p["model"], p["shape"]) for p in points] == [
        *((model, shape) for model in models[1:3] for shape in ("16x16", "32x32")),
        *((model, hw.name) for model in models[1:3] for hw in sweep.LANES),
    ]
    assert [p["model_only"] for p in points] == [p["model"] == "swin_tiny" for p in points]
    assert all(0 < p["utilization"] < 1 for p in points)
    text = paths["markdown"].read_text()
    assert "| Swin-T (model only) |" in text and "| DeiT-T |" in text
    assert "## LayerNorm lanes of `base`" in text
    capsys.readouterr()


def test_picture():
    pytest.importorskip("matplotlib")
    point = sweep.Point("swin_tiny", "8x8", 10**6, 10**5, 10**5, 100, 100, 100)
    points = [point, replace(point, shape="16x16"), sweep.Point("deit_tiny", "8x8", refused="no")]
    assert picture.picture(points).startswith(b"\x89PNG")


def test_lanes_table():
    """`base` itself is among them; useful operations count every multiplier."""
    assert {hw.norm_lanes for hw in sweep.LANES} > {BASE.norm_lanes}
    points = [
        sweep.Point("deit_tiny", hw.name, macs=10**6, cycles=5000 + n)
        for n, hw in enumerate(sweep.LANES)
    ]
    lines = page.lanes_table(points)
    first = points[0]
    assert first.operations == 2 * 10**6 / (5000 * first.hardware.multipliers)
    wanted = f"| 2 | 285 | {100 * 10**6 / (5000 * 256):.1f} %, {first.operations:.2f} |"
    assert wanted in lines and len(lines) == 7 + len(points)
    assert "## LayerNorm lanes" in page.markdown([replace(first, shape="16x16")], points)


def test_what_takes_too_long_is_left_out_with_a_reason(monkeypatch):
    monkeypatch.setattr(sweep, "MOST_TILES", 1000)
    monkeypatch.setattr(sweep, "sizes", lambda: {"deit_tiny": replace(SMALL, depth=5)})
    told = []
    points = sweep.sweep(["deit_tiny"], [SHAPES["8x8"]], told=told.append)
    assert "million weight tiles" in points[0].refused and "deit_tiny on 8x8" in told[0]
    assert "Left out:" in page.markdown(points, [])


@pytest.mark.parametrize("options", [["--jobs", "0"], ["--models", "vgg"], ["--shapes", "3x3"]])
def test_wrong_options(options, capsys):
    assert main(["sweep", *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
