"""The throughput benchmark: its ratios and shares, its JSON, and what wrong arguments get."""

import json

import pytest

pytest.importorskip("torch", reason="the benchmark times float models: it needs torch")

from benchmarks import throughput
from fqvit_hw.engines import fast


def test_medians_of_interleaved_rounds():
    seconds = {"float32": [4.0, 1.0, 9.0], "fast": [1.0, 1.0, 3.0]}
    result = throughput.Result(8, seconds, {"linear": 1.0, "linear_gelu": 1.0, "walk": 2.0}, 10**9)
    assert result.ratio("float32") == 3.0  # of 4, 1 and 3: not the ratio of the medians
    assert result.ratio("reference") is None
    assert result.rate("float32") == 2.0
    assert result.shares == {"walk": 0.5, "linear": 0.25, "linear_gelu": 0.25}
    assert result.gmac_per_second == 0.5
    table = throughput.speed_table({"net": result})
    assert table.splitlines()[-1] == "| net | 2.0 | - | - | 8.0 | 3.00 | - |"


def test_one_round(tmp_path, capsys):
    if reason := fast.available():
        pytest.skip(f"no fast engine: {reason}")
    path = tmp_path / "new" / "speed.json"
    options = ["--models", "deit_tiny", "--batch", "1", "--rounds", "1", "--threads", "1"]
    throughput.main([*options, "--also", "numpy", "--json", str(path)])
    found = json.loads(path.read_text())
    model = found["deit_tiny"]
    assert model["setup"]["batch"] == model["setup"]["rounds"] == 1
    assert model["vs_reference"] is None and model["vs_float32"] > 0
    assert set(model["images_per_second"]) == {"float32", "fast", "numpy"}
    assert model["images_per_second"]["fast"] > model["images_per_second"]["numpy"]
    assert sum(model["shares"].values()) == pytest.approx(1)
    assert {"linear", "linear_gelu", "linear_residual", "attention"} <= set(model["shares"])
    assert "| deit_tiny |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "lenet"], "unknown model 'lenet': expected deit_tiny"),
        (["--batch", "0"], "expected a positive integer, got '0'"),
        (["--weights", "w.pth"], "--weights is for one model"),
    ],
)
def test_wrong_arguments(options, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        throughput.main(options)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_weights_that_are_not_there(capsys):
    with pytest.raises(SystemExit) as stopped:
        throughput.main(["--models", "deit_tiny", "--weights", "no.pth"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == "throughput: no.pth: no such file of weights"
