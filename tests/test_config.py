"""QuantConfig, presets and TOML files: what is accepted, and the one line for what is not."""

from dataclasses import fields, replace

import pytest

from fqvit_hw.config import CHOICES, PRESETS, QuantConfig, load_config, to_toml
from fqvit_hw.errors import UserError


def test_presets():
    assert list(PRESETS) == ["paper-884", "paper-888", "best"]
    assert PRESETS["best"] == QuantConfig()
    four, eight = PRESETS["paper-884"], PRESETS["paper-888"]
    assert eight == replace(four, attention="uniform8") and four.attention == "lis4"
    assert (four.exponential, four.row_norm, four.residual_operand) == ("i-exp", False, "int8")
    assert (four.gelu_index_width, four.qkv_scales, four.observer) == (10, "shared", "minmax")
    assert four.stream_width == 8 and four.ptf
    assert not (four.fold_positions or four.fold_values or four.fold_norms)
    assert four.weight_rounding == "nearest" and PRESETS["best"].weight_rounding == "output"
    assert not four.bias_correction
    assert PRESETS["best"].attention == "max4"


def test_what_a_mode_leaves_open():
    """Rows of the modes of the maximum are always normalized, those of uniform8 never; only lis4
    has powers of two that a lifted table makes up for."""
    for mode in CHOICES["attention"]:
        for row_norm in (True, False):
            config = QuantConfig(attention=mode, row_norm=row_norm)
            of_lis4 = row_norm if mode == "lis4" else None
            assert config.normalizes_rows == (mode != "uniform8" if of_lis4 is None else of_lis4)
        lifted = QuantConfig(attention=mode, exponential="lifted").softmax_table
        assert lifted == ("lifted" if mode == "lis4" else "exact")
        assert QuantConfig(attention=mode, exponential="i-exp").softmax_table == "i-exp"


def test_every_field_has_choices_and_a_line_in_the_docstring():
    for field in fields(QuantConfig):
        assert field.name in CHOICES and field.name in QuantConfig.__doc__
        assert field.default in CHOICES[field.name]


@pytest.mark.parametrize(
    ("field", "value", "error", "expected"),
    [
        ("exponential", "taylor", ValueError, "'exact', 'lifted', 'i-exp', got 'taylor'"),
        ("row_norm", 1, TypeError, "True, False, got 1"),
        ("weight_bits", 3, ValueError, "8, 7, 6, 5, 4, got 3"),
        ("weight_bits", 8.0, TypeError, "got 8.0"),
        ("weight_bits", True, TypeError, "got True"),
        ("calibration_images", 0, ValueError, "an integer from 1 to 1000000, got 0"),
        ("observer", "kl", ValueError, "'minmax', 'ema', 'percentile', 'omse'"),
        ("stream_width", "16", TypeError, "got '16'"),
    ],
)
def test_wrong_values_name_the_field_and_what_is_expected(field, value, error, expected):
    with pytest.raises(error) as raised:
        QuantConfig(**{field: value})
    message = str(raised.value)
    assert message.startswith(f"QuantConfig.{field}: expected ") and expected in message


@pytest.mark.parametrize("name", PRESETS)
def test_toml_round_trip(name, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(PRESETS[name]))
    assert load_config(path) == ("mine", PRESETS[name])
    assert load_config(str(path)) == load_config(path)


def test_load_config_of_a_preset_and_overrides(tmp_path):
    assert load_config("paper-888") == ("paper-888", PRESETS["paper-888"])
    path = tmp_path / "wide.toml"
    path.write_text('preset = "paper-884"\nstream_width = 16 # wider\n')
    assert load_config(path) == ("wide", replace(PRESETS["paper-884"], stream_width=16))
    path.write_text("weight_bits = 6\n")
    assert load_config(path) == ("wide", QuantConfig(weight_bits=6))
    path.write_text("")
    assert load_config(path) == ("wide", PRESETS["best"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stream_widht = 16", ["unknown key stream_widht = 16", "stream_width", "preset"]),
        ("stream_width = 12", ["stream_width: expected one of 16, 8, got 12"]),
        ("row_norm = 1", ["row_norm: expected one of True, False, got 1"]),
        ("calibration_images = 1.5", ["calibration_images: expected an integer", "got 1.5"]),
        ('preset = "worst"', ["preset: expected one of paper-884", "got 'worst'"]),
        ("preset = [1]", ["preset: expected one of", "got [1]"]),
        ("[table]\nx = 1", ["unknown key table = {'x': 1}"]),
        ("stream_width = ,", ["not a TOML file", "line 1"]),
    ],
)
def test_wrong_files_give_one_line_with_the_file(text, expected, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(UserError) as raised:
        load_config(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    for part in expected:
        assert part in message


def test_a_configuration_that_is_not_there(tmp_path):
    for name in ("default", tmp_path / "absent.toml", tmp_path):
        with pytest.raises(UserError, match=r"expected paper-884, paper-888, best or a TOML file"):
            load_config(name)
    path = tmp_path / "latin1.toml"
    path.write_bytes(b"observer = '\xff'")
    with pytest.raises(UserError, match=r"latin1\.toml: not a TOML file"):
        load_config(path)
