"""Accuracy of the built-in network under the hardware model, and what the report holds."""

import json

import numpy as np
import pytest

from fqvit_hw import QuantizedModel, cli, digits

pytest.importorskip("torch", reason="accuracy needs torch")


def test_the_checked_in_networks_meet_their_targets():
    """Float at least 96 %; integers within 0.6 points of it on the 360 held-out images."""
    from fqvit_hw.train import float_top1, load

    images, labels = digits.test_set()
    assert len(images) == 360
    real = float_top1(load())
    integer = np.mean(QuantizedModel.load(digits.NETWORK_FILE).run(images).argmax(1) == labels)
    assert real >= 0.96
    assert integer >= real - 0.006


def test_the_split_keeps_test_images_out_of_training():
    (train, _), (test, _) = digits.train_set(), digits.test_set()
    assert len(train) + len(test) == 1797
    assert not {x.tobytes() for x in train} & {x.tobytes() for x in test}


def test_the_checked_in_network_is_what_calibration_makes(tmp_path):
    """Ranges come from float sums, whose last bits differ between machines: nearly the same."""
    from fqvit_hw import quantize
    from fqvit_hw.train import load

    images = digits.test_set()[0]
    stored = QuantizedModel.load(digits.NETWORK_FILE)
    made = quantize(load(), digits.train_set()[0], mean=digits.MEAN, std=digits.STD)
    a, b = (m.run(images) * m.logit_scale for m in (stored, made))
    assert np.mean(a.argmax(1) == b.argmax(1)) > 0.99
    assert ((a - b) ** 2).sum() < 0.01 * (a**2).sum()


def test_report(tmp_path, capsys):
    files = tmp_path / "new" / "a.json", tmp_path / "a.png"
    arguments = ["accuracy", "--model", "digits", "--json", str(files[0]), "--png", str(files[1])]
    assert cli.main(arguments) == 0
    report = json.loads(files[0].read_text())
    assert [r["configuration"] for r in report["runs"]] == ["default", "paper"]
    first = report["runs"][0]
    for key in ("images", "float_top1", "integer_top1", "agreement", "logit_snr_db", "config"):
        assert report[key] == first[key]
    assert report["images"] == 360 and 0.96 <= report["float_top1"] <= 1
    assert report["integer_top1"] >= report["float_top1"] - 0.006
    assert report["agreement"] > 0.97 and report["logit_snr_db"] > 18
    assert report["config"]["exponential"] == "exact" and report["skipped"] == []
    changed = report["only_integer_right"] - report["only_float_right"]
    assert changed == round((report["integer_top1"] - report["float_top1"]) * 360)
    layers = first["layer_snr_db"]
    assert layers["patch_embed"] > layers["blocks.0.attn.softmax"] > 5
    assert layers["head"] == pytest.approx(first["logit_snr_db"], abs=0.01)
    assert files[1].read_bytes().startswith(b"\x89PNG")
    table = capsys.readouterr().out
    assert "default" in table and "paper" in table and "blocks.3.residual2" in table


def test_image_folders(tmp_path, capsys):
    from PIL import Image

    from fqvit_hw.errors import UserError
    from fqvit_hw.images import load_imagenet, load_images, read_image

    grid = np.random.default_rng(0).integers(0, 256, (227, 227, 3)).astype(np.uint8)
    for synset in ("n01440764", "n02123045"):  # classes 0 and 281
        (tmp_path / synset).mkdir()
        Image.fromarray(grid).save(tmp_path / synset / "x.png")
    (tmp_path / "n02123045" / "broken.JPEG").write_bytes(b"\xff\xd8\xff no image")
    found = load_imagenet(tmp_path, (224, 224))
    assert found.labels.tolist() == [0, 281]
    assert len(found.skipped) == 1 and "broken.JPEG" in capsys.readouterr().err
    # 227 x 227: cropped only
    np.testing.assert_array_equal(found.images[0], grid[1:225, 1:225].transpose(2, 0, 1))
    Image.fromarray(np.zeros((300, 500), np.uint8)).save(tmp_path / "wide.png")
    assert read_image(tmp_path / "wide.png", (224, 224), 3).shape == (3, 224, 224)
    assert read_image(tmp_path / "wide.png", (8, 8), 1).shape == (1, 8, 8)
    assert load_images(tmp_path, (8, 8), 1, limit=1).images.shape == (1, 1, 8, 8)
    with pytest.raises(UserError, match="not a synset"):
        load_imagenet(tmp_path, (224, 224))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        load_images(tmp_path / "empty", (8, 8))
    (tmp_path / "empty" / "bad.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of its 1 images"):
        load_images(tmp_path / "empty", (8, 8))
