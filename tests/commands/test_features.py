"""`fqvit-hw features`: maps of a photograph, noise against the float backbone, and refusals."""

import numpy as np
import pytest

from fqvit_hw import QuantizedModel
from fqvit_hw.commands.cli import main
from fqvit_hw.data import digits
from tests.models import MEAN, STD, tiny_quantized_swin, tiny_swin

pytest.importorskip("torch", reason="calibration needs torch")


@pytest.fixture
def photo(tmp_path):
    from PIL import Image
    from sklearn.datasets import load_sample_image

    path = tmp_path / "flower.png"
    Image.fromarray(load_sample_image("flower.jpg")[:61, :90]).save(path)
    return path


@pytest.fixture
def network(tmp_path):
    tiny_quantized_swin().save(tmp_path / "swin.safetensors")
    return tmp_path / "swin.safetensors"


def test_table_and_file(photo, network, tmp_path, capsys, monkeypatch):
    model = tiny_swin()
    model.pretrained_cfg = {"mean": MEAN, "std": STD}
    monkeypatch.setattr("fqvit_hw.zoo.models.load_model", lambda *_: model)
    out = tmp_path / "maps.npz"
    arguments = ["--network", str(network), "--image", str(photo), "--out", str(out)]
    assert main(["features", *arguments, "--model", "ours"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "61 x 90 pixels" in lines[0] and "31 x 45" in lines[2] and "16 x 23" in lines[3]
    assert all(float(line.split()[-2]) > 10 for line in lines[2:4])  # dB
    from PIL import Image

    pixels = np.asarray(Image.open(photo)).transpose(2, 0, 1)[None]
    maps = QuantizedModel.load(network).features(np.ascontiguousarray(pixels))
    with np.load(out) as saved:
        for i, expected in enumerate(maps):
            np.testing.assert_array_equal(saved[f"stage{i}"], expected.codes[0])
            step = saved[f"stage{i}_scale"] * 2.0 ** saved[f"stage{i}_factor"]
            real = step * (saved[f"stage{i}"] - float(saved[f"stage{i}_zero"]))
            np.testing.assert_allclose(real, expected.real[0].transpose(1, 2, 0), rtol=1e-5)


def refused(capsys, match, *arguments):
    assert main(["features", *arguments]) == 2
    error = capsys.readouterr().err
    assert match in error and error.count("\n") == 1


def test_refusals(photo, network, tmp_path, capsys):
    text = tmp_path / "text.png"
    text.write_text("no image")
    swin = ("--network", str(network), "--image")
    refused(capsys, "text.png: not an image", *swin, str(text))
    refused(capsys, "No such file", *swin, str(tmp_path / "absent.png"))
    vit = ("--network", str(digits.NETWORK_FILE), "--image")
    refused(capsys, "expected a Swin network", *vit, str(photo))
