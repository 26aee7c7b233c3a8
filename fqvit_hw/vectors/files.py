"""Golden vectors on disk: `.npz` and `$readmemh` files of every case, and the manifest over them.

Bytes do not depend on the machine or the day: archives are uncompressed with a fixed date, JSON is
sorted by construction, random numbers come from numpy's frozen RandomState.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from itertools import chain, repeat
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..formats import IntFormat
from ..places import GOLDEN
from .cases import Case, Tensor

FORMAT, VERSION = "fqvit-hw golden vectors", 1
MANIFEST = "manifest.json"
DEFAULT = GOLDEN


def npz_bytes(case: Case) -> bytes:
    """The case's arrays as an uncompressed .npz with fixed dates."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, tensor in case.tensors.items():
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            array = io.BytesIO()
            little = np.ascontiguousarray(tensor.data, tensor.data.dtype.newbyteorder("<"))
            np.lib.format.write_array(array, little.reshape(tensor.data.shape), version=(1, 0))
            archive.writestr(entry, array.getvalue())
    return buffer.getvalue()


def to_hex(data, fmt: IntFormat) -> str:
    """One element a line in C order, two's complement, ceil(width / 4) lower-case digits."""
    digits, mask = -(-fmt.width // 4), (1 << fmt.width) - 1
    return "".join(f"{int(x) & mask:0{digits}x}\n" for x in np.asarray(data).reshape(-1))


def from_hex(text: str, formats: list[tuple[int, IntFormat]], what: str) -> np.ndarray:
    """Parse what `$writememh` or a print of one value a line gives. int64 (n,).

    formats: how many numbers of which format follow each other; the last one holds to the end.
    Comments (`//`) and underscores are allowed. Raises ValueError naming `what`, the line and the
    text for anything that is not a number of its format's width: an address, x or z digits, a
    number too wide.
    """
    values = []
    following = chain.from_iterable(repeat(fmt, n) for n, fmt in formats)
    fmt = formats[-1][1]
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.split("//")[0].split():
            try:
                bits = int(word.replace("_", ""), 16)
            except ValueError:
                raise UserError(f"{what}, line {number}: {word!r} is not a hex number") from None
            fmt = next(following, fmt)
            if not 0 <= bits < 1 << fmt.width:
                raise UserError(f"{what}, line {number}: {word!r} does not fit {fmt}")
            values.append(bits - (1 << fmt.width) if fmt.signed and bits > fmt.max else bits)
    return np.array(values, np.int64)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def array_sha256(tensor: Tensor) -> str:
    """Over the C-order bytes of the elements as little-endian int64: no dtype, no file format."""
    return sha256(np.ascontiguousarray(tensor.data, "<i8").tobytes())


def write(out: Path, cases: list[Case], header: dict) -> dict:
    """Write all cases and their manifest into the folder `out`; returns the manifest.

    Everything is written beside `out` first and moved in at the end: the folders of units are
    replaced whole, other files of `out` (its README) stay. Raises ValueError for two cases of one
    name, for a file in place of the folder, and for a folder whose units are not ours: it has them,
    but no manifest.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: expected a folder, found a file")
    if not (out / MANIFEST).exists():
        for unit in dict.fromkeys(case.unit for case in cases):
            if (out / unit).exists():
                raise UserError(f"{out / unit}: would be replaced, but is no golden vectors")
    manifest = {"format": FORMAT, "version": VERSION, **header, "cases": []}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".golden-") as name:
        folder = Path(name)
        for case in cases:
            manifest["cases"].append(_write_case(folder, case))
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        for entry in sorted(folder.iterdir()):
            if (out / entry.name).is_dir():
                shutil.rmtree(out / entry.name)
            os.replace(entry, out / entry.name)
    return manifest


def _write_case(folder: Path, case: Case) -> dict:
    stem = f"{case.unit}/{case.name}"
    npz = folder / f"{stem}.npz"
    if npz.exists():
        raise ValueError(f"golden: two cases are named {stem}")
    npz.parent.mkdir(exist_ok=True)
    content = npz_bytes(case)
    npz.write_bytes(content)
    tensors = []
    for name, tensor in case.tensors.items():
        text = to_hex(tensor.data, tensor.format).encode()
        (folder / f"{stem}.{name}.hex").write_bytes(text)
        tensors.append(
            {
                "name": name,
                "role": tensor.role,
                "shape": list(tensor.data.shape),
                "width": tensor.format.width,
                "signed": tensor.format.signed,
                "hex": f"{stem}.{name}.hex",
                "hex_sha256": sha256(text),
                "array_sha256": array_sha256(tensor),
            }
        )
    return {
        "unit": case.unit,
        "name": case.name,
        "npz": f"{stem}.npz",
        "npz_sha256": sha256(content),
        "tensors": tensors,
    }


def load_manifest(folder: Path) -> dict:
    """Raises ValueError naming the file for one that is missing, damaged or of another version."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: no golden vectors here ({error}): `fqvit-hw golden --out {folder}` makes them"
        ) from None
    found = (
        (manifest.get("format"), manifest.get("version")) if isinstance(manifest, dict) else None
    )
    if found != (FORMAT, VERSION):
        raise UserError(f"{path}: expected {FORMAT!r} version {VERSION}, found {found}")
    return manifest


def load(folder: Path, unit: str) -> list[Case]:
    """All cases of a unit in manifest order, each file checked against its sha256.

    Raises ValueError for an unknown unit or a file that is not the one the manifest describes.
    """
    entries = load_manifest(folder)["cases"]
    units = sorted({entry["unit"] for entry in entries})
    if unit not in units:
        raise UserError(f"unknown unit {unit!r}; {folder} holds {', '.join(units)}")
    return [_load_case(folder, entry) for entry in entries if entry["unit"] == unit]


def _load_case(folder: Path, entry: dict) -> Case:
    path = folder / entry["npz"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if sha256(content) != entry["npz_sha256"]:
        raise UserError(
            f"{path}: sha256 differs from the manifest: run `fqvit-hw golden --out {folder}`"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        tensors = {
            t["name"]: Tensor(t["role"], arrays[t["name"]], IntFormat(t["width"], t["signed"]))
            for t in entry["tensors"]
        }
    return Case(entry["unit"], entry["name"], tensors)
