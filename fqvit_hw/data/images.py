"""Image files as uint8 arrays: timm's own preprocessing, stopped before it becomes float."""

from __future__ import annotations

import functools
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError

SUFFIXES = {".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".pgm"}
BROKEN = (OSError, ValueError, SyntaxError)  # what PIL raises for a file that is no image


@dataclass(frozen=True)
class Preprocessing:
    """From a file to pixels, as timm's `create_transform` does it for evaluation.

    size: (height, width) of the crop; channels: 1 or 3; the others as in timm's pretrained_cfg.
    """

    size: tuple[int, int]
    channels: int = 3
    crop_pct: float = 0.9
    interpolation: str = "bicubic"
    crop_mode: str = "center"

    @classmethod
    def of_model(cls, model) -> Preprocessing:
        """What the model's pretrained_cfg asks for, at the image size that it was built for."""
        from ..timm_compat import import_timm

        import_timm()
        from timm.data.config import resolve_data_config

        config = resolve_data_config(model=model)
        return cls(
            tuple(model.patch_embed.img_size),
            model.patch_embed.proj.in_channels,
            config["crop_pct"],
            config["interpolation"],
            config["crop_mode"],
        )

    def read(self, path) -> np.ndarray:
        """One file -> uint8 (C, H, W). Raises one of BROKEN for a broken file.

        An image with both sides between the crop and the resize target (227 x 227 for 224 and 248)
        is taken as scaled before, and only cropped: to scale it up first would blur it. Here timm
        would scale; everywhere else the pixels are timm's.
        """
        from PIL import Image

        with Image.open(path) as opened:
            image = opened.convert("L" if self.channels == 1 else "RGB")
        *resize_and_crop, to_tensor = steps(self)
        if self.scaled_before(image.size):
            height, width = self.size
            left, top = (image.width - width) // 2, (image.height - height) // 2
            image = image.crop((left, top, left + width, top + height))
        else:
            for step in resize_and_crop:
                image = step(image)
        return to_tensor(image).numpy()

    def scaled_before(self, size: tuple[int, int]) -> bool:
        """size: (width, height) of an image file."""
        return all(
            crop <= side <= int(crop / self.crop_pct)
            for crop, side in zip(self.size, reversed(size), strict=True)
        )

    def as_json(self) -> dict:
        return asdict(self) | {"size": list(self.size)}


@functools.cache
def steps(preprocessing: Preprocessing) -> list:
    """timm's transforms: the resize, the crop, the conversion to a uint8 tensor (C, H, W)."""
    from ..timm_compat import import_timm

    import_timm()
    from timm.data.transforms_factory import create_transform

    composed: Any = create_transform(  # a Compose; its type allows for what was not asked for
        (preprocessing.channels, *preprocessing.size),
        interpolation=preprocessing.interpolation,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        normalize=False,
    )
    return composed.transforms


@dataclass
class ImageSet:
    """images: uint8 (B, C, H, W); files: their paths; skipped: paths that could not be read."""

    images: np.ndarray
    files: list[str]
    skipped: list[str] = field(default_factory=list)


def image_files(folder) -> list[Path]:
    """All image files below `folder`, sorted by path. Raises UserError if there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of images")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise UserError(f"{folder}: the folder holds no images")
    return files


def load_images(folder, preprocessing: Preprocessing, limit: int | None = None) -> ImageSet:
    """The images of a folder, all in memory: for calibration and golden vectors.

    limit: only so many, one after the other. Raises UserError if none can be read.
    """
    return read_all(folder, image_files(folder), preprocessing, limit)


def read_all(folder, files, preprocessing: Preprocessing, limit: int | None = None) -> ImageSet:
    """`files` in their order; a broken one is named on stderr and skipped, the next one read."""
    images, found, skipped = [], [], []
    for path in files:
        try:
            images.append(preprocessing.read(path))
        except BROKEN as error:
            print(f"fqvit-hw: skipped {path}: {reason(error)}", file=sys.stderr)
            skipped.append(str(path))
            continue
        found.append(str(path))
        if len(images) == limit:
            break
    if not images:
        raise UserError(f"{folder}: none of its {len(skipped)} images can be read")
    return ImageSet(np.stack(images), found, skipped)


def reason(error: BaseException) -> str:
    """On one line."""
    return " ".join(str(error).split()) or type(error).__name__
