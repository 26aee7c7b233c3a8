"""What is written: the place looked at before the work, the file whole or not there at all."""

from __future__ import annotations

import os
import tempfile
from errno import EISDIR
from pathlib import Path

from .errors import UserError


def check_file(path: Path) -> None:
    """Raises UserError unless a file could be written there, with its folders; makes nothing."""
    if path.is_dir():
        raise UserError(f"{path}: expected a file, it is a folder")
    check_folder(path.parent)


def check_folder(path: Path) -> None:
    """Raises UserError unless files could be written in it, or it could be made."""
    nearest = path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UserError(f"{nearest}: expected a folder to write in, it is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{nearest}: nothing can be written in this folder")


def write_file(path: Path, content: bytes) -> None:
    """Atomically, with the folders that it needs. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def write_files(folder: Path, contents: dict[str, bytes]) -> None:
    """Files of these names in `folder`: all new, or all as they were before. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as name:
        aside = Path(name)
        for file, content in contents.items():
            (aside / f"new {file}").write_bytes(content)
        kept, placed = [], []
        try:
            for file in contents:
                if (folder / file).is_dir():
                    raise IsADirectoryError(EISDIR, "a folder", str(folder / file))
                if (folder / file).exists():
                    os.replace(folder / file, aside / f"old {file}")
                    kept.append(file)
                os.replace(aside / f"new {file}", folder / file)
                placed.append(file)
        except OSError:
            for file in placed:
                (folder / file).unlink()
            for file in kept:
                os.replace(aside / f"old {file}", folder / file)
            raise


def write_atomically(path, content: bytes) -> None:
    """Either the whole file is there afterwards, or what was there before. Raises OSError."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None:  # the one that was asked for, not the temporary one
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)
