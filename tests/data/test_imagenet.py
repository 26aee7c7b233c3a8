"""The ImageNet folder: labels by synset, and what is not ImageNet."""

from pathlib import Path

import pytest

from fqvit_hw.data.imagenet import (
    files_sha256,
    find_validation,
    load_calibration,
    spread,
    spread_files,
)
from fqvit_hw.data.images import Preprocessing
from fqvit_hw.errors import UserError
from tests.folders import SYNSETS, image_file, imagenet

pytest.importorskip("torch", reason="synsets and preprocessing are timm's")
SMALL = Preprocessing((16, 16))


def test_labels_are_of_the_synset_also_with_few_classes(tmp_path):
    data = imagenet(tmp_path, per_class=2)
    found = find_validation(data, SMALL)
    assert found.files == tuple(f"{synset}/{i}.JPEG" for synset in SYNSETS for i in range(2))
    assert found.labels == (0, 0, 1, 1, 281, 281)
    assert found.read(3).shape == (3, 16, 16)
    inside = find_validation(data / "val", SMALL)
    assert (inside.files, inside.labels) == (found.files, found.labels)
    assert files_sha256(found.files) != files_sha256(found.files[:-1])


def test_folders_that_are_not_imagenet(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find_validation(tmp_path / "absent", SMALL)
    with pytest.raises(UserError, match="not an ImageNet folder: expected DATA/val/<synset>"):
        find_validation(tmp_path, SMALL)
    image_file(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(UserError, match="its images lie in no synset folders"):
        find_validation(tmp_path, SMALL)
    (tmp_path / "val" / "n01440764").mkdir()
    with pytest.raises(UserError, match="hold no images"):
        find_validation(tmp_path, SMALL)
    image_file(tmp_path / "val" / "n01440764" / "x.JPEG")
    image_file(tmp_path / "val" / "n99999999" / "x.JPEG")
    with pytest.raises(UserError, match=r"1 folders of images are not a synset.*n99999999"):
        find_validation(tmp_path, SMALL)


def test_calibration_images_are_spread_over_the_classes(tmp_path, capsys):
    for c in "abcdef":
        for i in range(3):
            image_file(tmp_path / c / f"{i}.png", seed=ord(c) + i)

    def first(count):
        files = list(spread_files(tmp_path, count))
        assert len(files) == len(set(files)) == 18  # a broken image has a successor
        return [p.relative_to(tmp_path).as_posix() for p in files[:count]]

    assert first(2) == ["a/0.png", "d/0.png"]
    assert first(6) == [f"{c}/0.png" for c in "abcdef"]
    assert first(8) == [*first(6), "a/1.png", "b/1.png"]
    assert len(first(99)) == 18
    (tmp_path / "a" / "0.png").write_bytes(b"broken")
    found = load_calibration(tmp_path, tmp_path, 2, SMALL)
    assert [Path(f).parent.name for f in found.files] == ["d", "b"]
    assert found.skipped == [str(tmp_path / "a" / "0.png")]
    assert "0.png" in capsys.readouterr().err


def test_deeper_folders_are_spread_too(tmp_path):
    """Images of two levels, and beside folders: never the first ones by name."""
    for name in ("a", "b"):
        for c in "cdef":
            for i in range(2):
                image_file(tmp_path / name / c / f"{i}.png", seed=i)

    def first(count):
        return [
            p.relative_to(tmp_path).as_posix() for p in list(spread_files(tmp_path, 99))[:count]
        ]

    assert first(4) == ["a/c/0.png", "b/c/0.png", "a/d/0.png", "b/d/0.png"]
    assert len(set(first(99))) == 16
    image_file(tmp_path / "x.png")
    assert first(2) == ["x.png", "a/c/0.png"] and len(set(first(99))) == 17
    few = [p.relative_to(tmp_path).as_posix() for p in spread_files(tmp_path / "a", 2)][:2]
    assert few == ["a/c/0.png", "a/e/0.png"]


@pytest.mark.parametrize("folder", ["val", ".", "val/n01440764", "link"])
def test_scored_images_do_not_calibrate(tmp_path, folder):
    data = imagenet(tmp_path / "data", per_class=1)
    (data / "link").symlink_to(data / "val")
    scored = find_validation(data, SMALL)
    assert len(load_calibration(data, None, 3, SMALL, scored).files) == 3
    with pytest.raises(UserError, match=r"scored.*calibrate on others"):
        load_calibration(data, data / folder, 3, SMALL, scored)


def test_calibration_folders(tmp_path):
    data = imagenet(tmp_path, per_class=1, train=2)
    found = load_calibration(data, None, 4, SMALL)
    assert found.images.shape == (4, 3, 16, 16)
    assert all("/train/" in file for file in found.files)
    with pytest.raises(UserError, match=r"--calibration DIR"):
        load_calibration(data / "val", None, 4, SMALL)
    with pytest.raises(UserError, match="no such folder"):
        load_calibration(data, tmp_path / "absent", 4, SMALL)
    (tmp_path / "flat").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        load_calibration(data, tmp_path / "flat", 4, SMALL)
    for i in range(3):
        image_file(tmp_path / "flat" / f"{i}.png", seed=i)
    assert len(load_calibration(data, tmp_path / "flat", 9, SMALL).files) == 3


def test_spread():
    assert spread(range(10), 3) == [0, 3, 6, 1, 2, 4, 5, 7, 8, 9]
    assert spread(range(3), 5) == [0, 1, 2]
    assert set(spread(range(1000), 7)[:7]) <= set(spread(range(1000), 14)[:14])
