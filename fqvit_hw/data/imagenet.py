"""The standard ImageNet folder: labelled validation images, and images to calibrate on.

Nothing here holds more than a batch of images: files are listed at once and read when asked for.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .images import SUFFIXES, ImageSet, Preprocessing, read_all

LAYOUT = "DATA/val/<synset>/*.JPEG or DATA/<synset>/*.JPEG"


@dataclass(frozen=True)
class Validation:
    """Labelled image files. files: relative to `folder`, sorted; labels: ImageNet-1k indices."""

    folder: Path
    files: tuple[str, ...]
    labels: tuple[int, ...]
    preprocessing: Preprocessing

    def read(self, index: int) -> np.ndarray:
        """uint8 (C, H, W). Raises one of images.BROKEN."""
        return self.preprocessing.read(self.folder / self.files[index])


@dataclass(frozen=True)
class Arrays:
    """Labelled images that are in memory already (the digits), with the face of Validation."""

    files: tuple[str, ...]
    labels: tuple[int, ...]
    images: np.ndarray
    preprocessing: Preprocessing

    def read(self, index: int) -> np.ndarray:
        return self.images[index]


def find_validation(data, preprocessing: Preprocessing) -> Validation:
    """DATA/val or DATA itself; labelled by the synset's ImageNet-1k index, never its rank here.

    Some of the 1000 classes will do. Raises UserError for a folder that is not ImageNet, naming
    the folders that are no synsets.
    """
    data = Path(data)
    if not data.is_dir():
        raise UserError(f"{data}: no such folder")
    root = data / "val" if (data / "val").is_dir() else data
    folders, index = subfolders(root), synsets()
    known = [folder for folder in folders if folder.name in index]
    if not known:
        flat = " (its images lie in no synset folders)" if listing(root) else ""
        raise UserError(f"{root}: not an ImageNet folder{flat}: expected {LAYOUT}")
    unknown = [folder.name for folder in folders if folder.name not in index and listing(folder)]
    if unknown:
        raise UserError(
            f"{root}: {len(unknown)} folders of images are not a synset of ImageNet-1k (like "
            f"n01440764): {', '.join(unknown[:3])}"
        )
    files = [path for folder in known for path in listing(folder)]
    if not files:
        raise UserError(f"{root}: its synset folders hold no images")
    names = tuple(path.relative_to(root).as_posix() for path in files)
    labels = tuple(index[path.parent.name] for path in files)
    return Validation(root, names, labels, preprocessing)


def synsets() -> dict[str, int]:
    """The index 0..999 of each synset of ImageNet-1k."""
    from ..timm_compat import import_timm

    import_timm()
    from timm.data.imagenet_info import ImageNetInfo

    return {synset: i for i, synset in enumerate(ImageNetInfo().label_names())}


def subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:  # which knows of its thousands of files what they are
        return sorted(Path(e) for e in entries if e.is_dir() and not e.name.startswith("."))


def listing(folder: Path) -> list[Path]:
    """The image files directly in a folder, sorted."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)


def files_sha256(files: Iterable[str]) -> str:
    """Of the names alone: enough to tell two validation folders apart."""
    return hashlib.sha256("\n".join(files).encode()).hexdigest()


def train_folder(data) -> Path | None:
    """DATA/train, if it is there."""
    folder = Path(data) / "train"
    return folder if folder.is_dir() else None


def load_calibration(
    data, folder, count: int, preprocessing: Preprocessing, scored: Validation | None = None
) -> ImageSet:
    """`count` images of `folder`, by default DATA/train: never of the images that are `scored`.

    Spread evenly over its subfolders (classes), the same ones in every run; all if there are fewer.
    A broken one is named, skipped and replaced by the next.
    """
    if folder is None:
        folder = train_folder(data)
        if not folder:
            raise UserError(
                f"no images to calibrate on: expected {Path(data) / 'train'}, or --calibration DIR "
                "with some"
            )
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of images")
    if scored:
        refuse_overlap(folder, scored)
    files = spread_files(folder, count)
    first = list(itertools.islice(files, count))
    if not first:
        raise UserError(f"{folder}: the folder holds no images")
    return read_all(folder, itertools.chain(first, files), preprocessing, count)


def refuse_overlap(folder: Path, scored: Validation) -> None:
    """Raises UserError if `folder` holds a folder of scored images, or lies in one."""
    real = folder.resolve()
    for name in sorted({Path(file).parent for file in scored.files}):
        synset = (scored.folder / name).resolve()
        if synset.is_relative_to(real) or real.is_relative_to(synset):
            raise UserError(
                f"{folder}: holds images of {scored.folder} that are scored: calibrate on others"
            )


def spread_files(folder: Path, count: int) -> Iterator[Path]:
    """Image files in such an order that the first `count` are spread evenly over the subfolders.

    Those of a folder that has both images and subfolders are one class more. A subfolder is listed
    only when its turn comes: a training set has 1.3 million files.
    """
    folders = subfolders(folder)
    if not folders:
        yield from spread(listing(folder), count)
        return
    inside = (files_inside(one, count) for one in spread(folders, count))
    yield from in_turns([iter(listing(folder)), *inside])


def files_inside(folder: Path, count: int) -> Iterator[Path]:
    """Of one subfolder: in order, or spread over its own subfolders."""
    yield from spread_files(folder, count) if subfolders(folder) else listing(folder)


def in_turns(sources: list[Iterator]) -> Iterator:
    """The first item of each source, then the second of each, until all are used up."""
    while sources:
        left = []
        for source in sources:
            for item in itertools.islice(source, 1):
                left.append(source)
                yield item
        sources = left


def spread(items, count: int) -> list:
    """All items, `count` evenly spaced ones first."""
    if count >= len(items):
        return list(items)
    chosen = {i * len(items) // count for i in range(count)}
    return [items[i] for i in sorted(chosen)] + [
        item for i, item in enumerate(items) if i not in chosen
    ]
