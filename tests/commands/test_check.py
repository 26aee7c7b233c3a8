"""`fqvit-hw check`: equal files pass, any difference is named, bad input is one clear line."""

import pytest

from fqvit_hw.commands.cli import main
from fqvit_hw.vectors import files as vectors
from fqvit_hw.vectors.corners import CORNERS


def all_hex(unit: str, tensor: str = "y") -> str:
    manifest = vectors.load_manifest(vectors.DEFAULT)
    entries = [entry for entry in manifest["cases"] if entry["unit"] == unit]
    names = (f"{e['unit']}/{e['name']}.{tensor}.hex" for e in entries)
    return "".join((vectors.DEFAULT / name).read_text() for name in names)


def check(tmp_path, text: str, *options: str) -> int:
    path = tmp_path / "theirs.hex"
    path.write_text(text)
    return main(["check", "--got", str(path), *options])


@pytest.mark.parametrize("unit", CORNERS)
def test_equal(tmp_path, capsys, unit):
    assert check(tmp_path, all_hex(unit), "--unit", unit) == 0
    assert "elements of" in capsys.readouterr().out


def test_one_case_and_another_tensor(tmp_path):
    text = (vectors.DEFAULT / "softmax" / "lis4_slow_masked.reciprocal.hex").read_text()
    options = ("--unit", "softmax", "--case", "lis4_slow_masked", "--tensor", "reciprocal")
    assert check(tmp_path, text, *options) == 0


def test_first_difference_is_named(tmp_path, capsys):
    lines = all_hex("layernorm").splitlines()
    first = vectors.load(vectors.DEFAULT, "layernorm")[0]
    channels = first["y"].shape[1]
    for position in (channels + 2, channels + 3):
        lines[position] = f"{int(lines[position], 16) ^ 1:02x}"
    assert check(tmp_path, "\n".join(lines), "--unit", "layernorm") == 1
    out = capsys.readouterr().out
    want = int(first["y"][1, 2])
    assert f"first difference in case {first.name}, index [1, 2]" in out
    assert f"expected {want}, got {want ^ 1}; 2 of" in out


def test_too_short_and_too_long(tmp_path, capsys):
    text = all_hex("gelu")
    assert check(tmp_path, text[:-3], "--unit", "gelu") == 1
    assert "the file ends after" in capsys.readouterr().out
    assert check(tmp_path, text + "00\n", "--unit", "gelu") == 1
    assert "expected" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--unit", "divider"), "unknown unit 'divider'"),
        (("--unit", "gelu", "--case", "none"), "unknown case 'none'"),
        (("--unit", "gelu", "--tensor", "z"), "no output 'z'"),
        (("--unit", "gelu", "--golden", "/nowhere"), "no golden vectors here"),
    ],
)
def test_bad_input(tmp_path, capsys, options, message):
    assert check(tmp_path, "00\n", *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_every_case_is_read_in_its_own_width(tmp_path, capsys):
    first, *others = vectors.load(vectors.DEFAULT, "softmax")
    wide = next(case for case in others if case.tensors["y"].format.width == 8)
    assert first.tensors["y"].format.width == 4
    lines = all_hex("softmax").splitlines()
    lines[first["y"].size - 1] = "10"
    assert check(tmp_path, "\n".join(lines), "--unit", "softmax") == 2
    assert f"line {first['y'].size}: '10' does not fit uint4" in capsys.readouterr().err
    lines = all_hex("softmax").splitlines()
    before = [first, *others[: others.index(wide)]]
    lines[sum(case["y"].size for case in before)] = "7f"
    assert check(tmp_path, "\n".join(lines), "--unit", "softmax") == 1
    assert f"case {wide.name}" in capsys.readouterr().out


def test_missing_file(capsys):
    assert main(["check", "--unit", "gelu", "--got", "/nowhere.hex"]) == 2
    assert "/nowhere.hex: cannot be read (No such file or directory)" in capsys.readouterr().err
