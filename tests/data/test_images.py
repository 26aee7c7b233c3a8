"""Pixels are timm's, up to the normalization that the integer network has folded in."""

import numpy as np
import pytest

from fqvit_hw.data.images import Preprocessing, load_images
from fqvit_hw.errors import UserError
from tests.folders import image_file
from tests.models import tiny_vit

torch = pytest.importorskip("torch", reason="preprocessing is timm's")
DEIT = Preprocessing((224, 224))


def timm_eval(path, **changes):
    """timm's own evaluation transform, normalized: float (3, H, W)."""
    from fqvit_hw.timm_compat import import_timm

    import_timm()
    from PIL import Image
    from timm.data import create_transform

    settings = dict(
        interpolation="bicubic", crop_pct=0.9, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    transform = create_transform((3, 224, 224), **(settings | changes))
    with Image.open(path) as image:
        return transform(image.convert("RGB"))


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((500, 375), {}),
        ((333, 640), {}),
        ((90, 120), {}),  # scaled up
        ((400, 230), {}),  # one side between crop and target: scaled as timm does
        ((248, 248), {}),
        ((500, 375), {"crop_pct": 0.875, "interpolation": "bilinear"}),
        ((300, 301), {"crop_pct": 1.0}),
    ],
)
def test_pixels_equal_timm_up_to_normalization(tmp_path, size, settings):
    image_file(tmp_path / "x.png", size)
    pixels = Preprocessing((224, 224), **settings).read(tmp_path / "x.png")
    assert pixels.dtype == np.uint8 and pixels.shape == (3, 224, 224)
    mean, std = (
        torch.tensor(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    normalized = (torch.from_numpy(pixels).float() / 255 - mean) / std
    assert torch.equal(normalized, timm_eval(tmp_path / "x.png", **settings))


def test_images_scaled_before_are_only_cropped(tmp_path):
    from PIL import Image

    grid = np.random.default_rng(0).integers(0, 256, (227, 227, 3)).astype(np.uint8)
    Image.fromarray(grid).save(tmp_path / "x.png")
    np.testing.assert_array_equal(
        DEIT.read(tmp_path / "x.png"), grid[1:225, 1:225].transpose(2, 0, 1)
    )


def test_the_model_says_how(tmp_path):
    model = tiny_vit()
    assert Preprocessing.of_model(model) == Preprocessing((12, 8), 3, 0.875, "bicubic", "center")
    model.pretrained_cfg = {"crop_pct": 1.0, "interpolation": "bilinear", "crop_mode": "squash"}
    assert Preprocessing.of_model(model) == Preprocessing((12, 8), 3, 1.0, "bilinear", "squash")


def test_grey_images_and_folders(tmp_path, capsys):
    image_file(tmp_path / "a" / "wide.png", (500, 300), mode="L")
    assert DEIT.read(tmp_path / "a" / "wide.png").shape == (3, 224, 224)
    assert Preprocessing((8, 8), 1).read(tmp_path / "a" / "wide.png").shape == (1, 8, 8)
    (tmp_path / "a" / "broken.png").write_bytes(b"\x89PNG no image")
    image_file(tmp_path / "b" / "x.png", (30, 30))
    found = load_images(tmp_path, Preprocessing((8, 8), 1))
    assert found.images.shape == (2, 1, 8, 8)
    assert found.files == [str(tmp_path / "a" / "wide.png"), str(tmp_path / "b" / "x.png")]
    assert found.skipped == [str(tmp_path / "a" / "broken.png")]
    assert "broken.png" in capsys.readouterr().err
    assert load_images(tmp_path, Preprocessing((8, 8), 1), limit=1).images.shape == (1, 1, 8, 8)


def test_folders_without_images(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load_images(tmp_path / "absent", DEIT)
    with pytest.raises(UserError, match="holds no images"):
        load_images(tmp_path, DEIT)
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of its 1 images"):
        load_images(tmp_path, DEIT)
