"""Folders of image files as uint8 arrays. Broken files are named, skipped and counted."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import UserError

SUFFIXES = {".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".pgm"}
CROP_FRACTION = 224 / 248  # timm's crop_pct 0.9 of DeiT: 248 for 224


@dataclass
class ImageSet:
    """images: uint8 (B, C, H, W); labels: int64 (B,), empty for a plain folder.

    files: the paths, in the order of the images; skipped: paths of files that could not be read.
    """

    images: np.ndarray
    labels: np.ndarray
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


def read_image(path, size: tuple[int, int], channels: int) -> np.ndarray:
    """One file -> uint8 (C, H, W): resized so that a centre crop of `size` keeps 90 %, cropped.

    An image whose shorter side lies between the crop and the resize target (227 for 224) is only
    cropped: scaling it up first would blur it. Raises OSError for a broken file.
    """
    from PIL import Image

    height, width = size
    target = round(min(size) / CROP_FRACTION)
    with Image.open(path) as opened:
        image = opened.convert("L" if channels == 1 else "RGB")
    short = min(image.size)
    if short > target or image.width < width or image.height < height:
        scale = target / short
        scaled = (max(round(n * scale), target) for n in image.size)
        image = image.resize(tuple(scaled), Image.Resampling.BICUBIC)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    pixels = np.asarray(image.crop((left, top, left + width, top + height)))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)  # (H, W, C) -> (C, H, W)


def load_images(folder, size: tuple[int, int], channels: int = 3, limit: int | None = None):
    """The images of a folder, without labels -> ImageSet. Raises UserError if none can be read.

    limit: read no further when so many have been read.
    """
    return read_all(folder, image_files(folder), size, channels, label_of=None, limit=limit)


def load_imagenet(folder, size: tuple[int, int], channels: int = 3) -> ImageSet:
    """`folder`/<synset>/*.JPEG, labelled by the synset's ImageNet-1k index, never by its rank here.

    Raises UserError for a folder that is not a synset, or if no image can be read.
    """
    from .calibrate.timm_compat import import_timm

    import_timm()
    from timm.data import ImageNetInfo

    index = {synset: i for i, synset in enumerate(ImageNetInfo().label_names())}
    files = image_files(folder)
    for path in files:
        if path.parent.name not in index:
            raise UserError(f"{path.parent}: not a synset of ImageNet-1k (like n01440764)")
    return read_all(folder, files, size, channels, label_of=lambda p: index[p.parent.name])


def read_all(folder, files, size, channels, label_of, limit=None) -> ImageSet:
    found = ImageSet(np.empty(0, np.uint8), np.empty(0, np.int64), [])
    images, labels = [], []
    for path in files:
        if len(images) == limit:
            break
        try:
            images.append(read_image(path, size, channels))
        except (OSError, ValueError, SyntaxError) as error:  # PIL raises all three
            print(f"fqvit-hw: skipped {path}: {' '.join(str(error).split())}", file=sys.stderr)
            found.skipped.append(str(path))
            continue
        found.files.append(str(path))
        if label_of:
            labels.append(label_of(path))
    if not images:
        raise UserError(f"{folder}: none of its {len(files)} images can be read")
    found.images, found.labels = np.stack(images), np.array(labels, np.int64)
    return found
