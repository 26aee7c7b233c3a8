"""The ablation: one ingredient at a time, and the figures of its table by hand."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from fqvit_hw import PRESETS
from fqvit_hw.accuracy.ablation import INGREDIENTS, variants
from fqvit_hw.accuracy.comparison import Row, markdown, summarize
from fqvit_hw.commands import cli


def differences(a, b) -> set[str]:
    return {field for field, value in asdict(a).items() if asdict(b)[field] != value}


def test_each_step_adds_one_ingredient_and_the_last_is_best():
    found = variants()
    steps = [name for name in found if name.startswith("+ ")]
    assert steps == [f"+ {name}" for name in INGREDIENTS]
    before = found["paper-884"]
    for name in steps:
        assert differences(before, found[name]) == set(INGREDIENTS[name.removeprefix("+ ")])
        before = found[name]
    assert before == PRESETS["best"]


def test_best_without_one_lacks_just_that():
    found, best = variants(), PRESETS["best"]
    without = [name for name in found if name.startswith("best without ")]
    assert len(without) == len(INGREDIENTS) - 1
    for name in without:
        changed = INGREDIENTS[name.removeprefix("best without ")]
        assert differences(best, found[name]) == set(changed)
    assert "best without row normalization" not in found
    assert found["best without codes of the maximum"].attention == "lis4"


def test_figures_by_hand():
    real = np.array([[3.0, 4.0], [5.0, 0.0], [0.0, 5.0], [5.0, 0.0]])  # energy 100
    logits = real.copy()
    logits[0] = [4.0, 3.0]  # error 2 changes the winner; three of four agree
    row = summarize("x", real, logits, np.array([0, 0, 1, 1]))
    assert row.snr == pytest.approx(10 * np.log10(50))
    assert (row.agreement, row.top1) == (0.75, 0.75)
    assert row.agreement_error == row.top1_error == pytest.approx(np.sqrt(0.75 * 0.25 / 4))
    assert summarize("x", real, real, np.zeros(4)).snr == np.inf
    table = markdown("m", 4, 0.5, [Row("a", 12.345, 0.75, 0.2165, 0.5, 0.25)])
    assert table.splitlines()[-1] == "| a | 12.35 dB | 75.00% ± 21.65% | 50.00% ± 25.00% |"


def test_command_on_the_digits(tmp_path, capsys):
    pytest.importorskip("torch", reason="calibration needs torch")
    path = tmp_path / "ablation.json"
    arguments = ["ablation", "--model", "digits", "--limit", "20", "--json", str(path)]
    assert cli.main(arguments) == 0
    report, out = json.loads(path.read_text()), capsys.readouterr().out
    assert report["images"] == 20 and [r["name"] for r in report["rows"]] == list(variants())
    by_name = {row["name"]: row for row in report["rows"]}
    assert by_name["+ bias correction"]["snr"] > by_name["paper-884"]["snr"] > 10
    assert out.count("\n| ") == len(variants()) + 1  # and the header


@pytest.mark.parametrize("limit", ["0", "-3", "many"])
def test_wrong_limit(limit, capsys):
    assert cli.main(["ablation", "--model", "digits", "--limit", limit]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--limit" in error
