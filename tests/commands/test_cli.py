"""The command line: what bad input gets is one line on stderr and exit status 2."""

import os
import subprocess
import sys

import numpy as np
import pytest

from fqvit_hw import QuantizedModel, quantize
from fqvit_hw.commands import cli
from fqvit_hw.network.file import content_sha256
from tests.folders import imagenet
from tests.models import random_images, tiny_vit

torch = pytest.importorskip("torch", reason="quantize and accuracy need torch")


def refused(capsys, *arguments) -> str:
    """Run a command that must fail; returns its one line."""
    assert cli.main([str(a) for a in arguments]) == 2
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if not line.startswith("fqvit-hw: skipped")]
    assert len(lines) == 1 and lines[0].startswith("fqvit-hw: error: "), err
    return lines[0]


@pytest.fixture
def weights(tmp_path):
    """A state dict that fits no timm model but its own: a ViT of one block."""
    path = tmp_path / "weights.pth"
    torch.save(tiny_vit().state_dict(), path)
    return path


def test_wrong_commands(capsys):
    for arguments in ([], ["nonsense"], ["accuracy"], ["accuracy", "--model", "digits", "--x"]):
        assert "fqvit-hw" in refused(capsys, *arguments)
    assert "paper-884" in refused(capsys, "accuracy", "--model", "digits", "--config", "other")


def test_wrong_models_and_folders(capsys, tmp_path, weights):
    accuracy = ["accuracy", "--model", "deit_tiny_patch16_224"]
    assert "--data" in refused(capsys, *accuracy)
    assert "unknown model" in refused(capsys, "accuracy", "--model", "no", "--data", tmp_path)
    assert "no --weights" in refused(capsys, "accuracy", "--model", "digits", "--data", tmp_path)
    absent = tmp_path / "absent.pth"
    assert str(absent) in refused(capsys, *accuracy, "--data", tmp_path, "--weights", absent)
    message = refused(capsys, *accuracy, "--data", tmp_path, "--weights", weights)
    assert "do not fit" in message and "blocks.2.norm1.weight" in message
    assert "of another shape (cls_token" in message
    for name in ("garbage.pth", "garbage.safetensors"):
        (tmp_path / name).write_bytes(b"garbage")
        message = refused(capsys, *accuracy, "--data", tmp_path, "--weights", tmp_path / name)
        assert "not a file of weights" in message


def test_no_weights_and_no_network(capsys, tmp_path, monkeypatch):
    from fqvit_hw.timm_compat import import_timm

    timm = import_timm()

    create = timm.create_model

    def fail(name, pretrained=False):
        if pretrained:
            raise OSError("no route to host")
        return create(name)

    monkeypatch.setattr(timm, "create_model", fail)
    monkeypatch.setattr("fqvit_hw.zoo.models.why_offline", lambda: None)
    message = refused(capsys, "accuracy", "--model", "deit_tiny_patch16_224", "--data", tmp_path)
    assert "--weights FILE" in message and "no route to host" in message


def test_unsupported_architecture(capsys, tmp_path):
    """Refused by name, whatever its weights are."""
    from fqvit_hw.timm_compat import import_timm

    torch.save(import_timm().create_model("resnet10t").state_dict(), tmp_path / "w.pth")
    for command in (["accuracy"], ["quantize", "--out", tmp_path / "net.safetensors"]):
        arguments = [*command, "--data", tmp_path, "--model", "resnet10t"]
        for weights in (["--weights", tmp_path / "w.pth"], ["--weights", tmp_path / "none"], []):
            assert "unsupported model ResNet" in refused(capsys, *arguments, *weights)
    assert not (tmp_path / "net.safetensors").exists()


@pytest.fixture
def small_timm_model(monkeypatch):
    """timm's `deit_tiny_patch16_224` replaced by a model that calibrates in a second."""
    from fqvit_hw.timm_compat import import_timm

    def create(name, **_):
        model = tiny_vit()
        model.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
        return model

    monkeypatch.setattr(import_timm(), "create_model", create)
    return "deit_tiny_patch16_224"


def test_quantize_writes_a_network(capsys, tmp_path, small_timm_model, weights):
    from PIL import Image

    data, out = tmp_path / "images", tmp_path / "net.safetensors"
    arguments = ["quantize", "--model", small_timm_model, "--weights", weights, "--data", data]
    arguments += ["--out", out, "--config", "paper-884"]
    assert "no such folder" in refused(capsys, *arguments)
    data.mkdir()
    assert "holds no images" in refused(capsys, *arguments)
    (data / "broken.png").write_bytes(b"broken")
    assert "none of its 1 images" in refused(capsys, *arguments)
    assert not out.exists()
    Image.fromarray(np.zeros((12, 8, 3), np.uint8)).save(data / "black.png")
    assert "constant" in refused(capsys, *arguments)
    for i, image in enumerate(random_images(4)):
        Image.fromarray(image.transpose(1, 2, 0)).save(data / f"{i}.png")
    assert cli.main([str(a) for a in arguments]) == 0
    printed = capsys.readouterr()
    assert "calibrated on 5 images, 1 files skipped" in printed.out
    assert "broken.png" in printed.err
    qm = QuantizedModel.load(out)
    assert qm.config.exponential == "i-exp" and qm.run(random_images(2)).shape == (2, 5)


def test_quantize_calibrates_on_the_training_images(capsys, tmp_path, small_timm_model, weights):
    """Of an ImageNet folder, as accuracy does: spread over the classes, none of val/."""
    from fqvit_hw.data.imagenet import load_calibration
    from fqvit_hw.data.images import Preprocessing
    from fqvit_hw.zoo.models import load_model

    data, out = imagenet(tmp_path / "IMAGENET", train=3), tmp_path / "net.safetensors"
    own = tmp_path / "own.toml"
    own.write_text("calibration_images = 5\n")
    arguments = ["quantize", "--model", small_timm_model, "--weights", weights, "--config", own]
    assert cli.main([str(a) for a in [*arguments, "--data", data, "--out", out]]) == 0
    model = load_model(small_timm_model, weights)
    found = load_calibration(data, None, 5, Preprocessing.of_model(model))
    assert [f.split("/train/")[1] for f in found.files] == [
        "n01440764/0.JPEG", "n01443537/0.JPEG", "n02123045/0.JPEG",
        "n01440764/1.JPEG", "n01443537/1.JPEG",
    ]  # fmt: skip
    qm = QuantizedModel.load(out)
    assert content_sha256(qm) == content_sha256(quantize(model, found.images, qm.config))


def test_quantize_refuses_a_folder_to_write_before_it_reads(capsys, tmp_path, weights):
    arguments = ["quantize", "--model", "no model", "--data", tmp_path, "--out"]
    assert f"{tmp_path}: expected a file" in refused(capsys, *arguments, tmp_path)
    assert "expected a folder" in refused(capsys, *arguments, weights / "net.safetensors")
    assert "absent: no such folder" in refused(capsys, *arguments, tmp_path / "absent" / "net")


def test_a_folder_that_cannot_be_made(capsys, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    message = refused(
        capsys, "accuracy", "--model", "digits", "--json", tmp_path / "file" / "a.json"
    )
    assert "file" in message
    message = refused(capsys, "accuracy", "--model", "digits", "--png", tmp_path)
    assert f"{tmp_path}: expected a file" in message


def test_the_installed_command_exits_with_2():
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "fqvit_hw.commands.cli",
            "accuracy",
            "--model",
            "digits",
            "--data",
            "x",
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("fqvit-hw: error: ") and len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
