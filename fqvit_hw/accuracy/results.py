"""The results file: JSON Lines, a header that says what was measured, then one line per image.

Lines are flushed as they come, so that an interrupted run goes on where it stopped. A torn last
line is cut off; a file of another model, other weights, images or integers is refused.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import UserError
from .evaluate import FLOAT

FORMAT, VERSION = "fqvit_hw.results", 1
HEADER = {  # and the kinds of its values
    "model": str, "weights_sha256": str, "networks_sha256": dict, "configurations": dict,
    "simulations": dict, "columns": list, "calibration": dict, "preprocessing": dict, "data": dict,
}  # fmt: skip


def dumps(record: dict) -> bytes:
    """One line."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def read_results(path) -> tuple[dict, Iterator[dict]]:
    """The header and the records, without a torn last line. Raises UserError for a foreign file.

    Going through the records raises it too, for a damaged one and for an image that has two.
    """
    lines = whole_lines(path)
    header = parse_header(path, next(lines, b""))
    return header, parse_records(path, lines, header["columns"])


def whole_lines(path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def parse_records(path, lines: Iterator[bytes], columns: list[str]) -> Iterator[dict]:
    """lines: those after the header."""
    seen = set()
    for number, line in enumerate(lines, 2):
        record = parse(path, number, line, columns)
        if record["file"] in seen:
            raise UserError(
                f"{path}, line {number}: {record['file']} stands there twice: an image is counted "
                "once, take one of the lines out"
            )
        seen.add(record["file"])
        yield record


def parse(path, number: int, line: bytes, columns: list[str]) -> dict:
    try:
        record = json.loads(line)
        check_record(record, columns)
    except ValueError as error:
        raise UserError(f"{path}, line {number}: damaged: {error}") from error
    return record


def check_record(record, columns: list[str]) -> None:
    """Raises ValueError naming the first thing that a figure would lack."""
    if not isinstance(record, dict) or not isinstance(record.get("file"), str):
        raise ValueError("not a record of an image")
    if "broken" in record:
        expect(record, "broken", str)
        return
    kinds = {"label": int, "signal": (int, float), "top5": dict, "error": dict}
    for key, kind in kinds.items():
        expect(record, key, kind)
    for column in columns:
        expect(record["top5"], column, list, "top5 of ")
        if not record["top5"][column]:
            raise ValueError(f"top5 of {column} is empty")
        if column != FLOAT:
            expect(record["error"], column, (int, float), "error of ")


def expect(values: dict, key: str, kind, what: str = "") -> None:
    """Raises ValueError unless `values` has the key, with a value of that kind."""
    if not isinstance(values.get(key), kind):
        raise ValueError(f"{what}{key} is {'of another kind' if key in values else 'missing'}")


def parse_header(path, line: bytes) -> dict:
    try:
        header = json.loads(line)
        if (header["format"], header["version"]) != (FORMAT, VERSION):
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not a results file of fqvit-hw accuracy, version {VERSION}"
        ) from error
    try:
        check_header(header)
    except ValueError as error:
        raise UserError(f"{path}: damaged: {error}") from error
    return header


def check_header(header: dict) -> None:
    """Raises ValueError naming what the figures or the page would lack."""
    for key, kind in HEADER.items():
        expect(header, key, kind, "its header: ")
    names = set(header["configurations"])
    if FLOAT not in header["columns"] or names != set(header["simulations"]):
        raise ValueError("its header: columns or simulations are not those of its configurations")


class ResultsFile:
    """An open results file: `append` adds records, `done` holds the files that have one.

    Raises UserError if the file exists and `resume` is not set, if it is of another measurement
    (naming what differs), or if another process writes to it.
    """

    def __init__(self, path: Path, header: dict, resume: bool):
        self.path = Path(path)
        header = json.loads(dumps(header))  # as it will be read back
        if self.path.exists() and not resume:
            raise UserError(
                f"{self.path}: exists already: --resume goes on with it, or choose another name"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.path, "a+b")  # noqa: SIM115 (closed by close)
        try:
            self.lock()
            self.done = self.continue_after(header)
        except BaseException:
            self.file.close()
            raise

    def lock(self) -> None:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{self.path}: another process is writing to it") from error

    def continue_after(self, header: dict) -> set[str]:
        """Check or write the header, cut off a torn line; returns the files that are done."""
        end = sum(len(line) for line in whole_lines(self.path))
        self.file.truncate(end)
        if end == 0:
            self.write([header])
            return set()
        found, records = read_results(self.path)
        refuse_another(self.path, found, header, {**header, **found})
        return {record["file"] for record in records}

    def append(self, records: list[dict]) -> None:
        """Raises ValueError for an image that has been counted, and writes nothing."""
        for record in records:
            if record["file"] in self.done:
                raise ValueError(f"{self.path}: {record['file']} would be counted twice")
        for record in records:
            self.done.add(record["file"])
        self.write(records)

    def write(self, lines: Iterable[dict]) -> None:
        self.file.write(b"".join(map(dumps, lines)))
        self.file.flush()

    def records(self) -> Iterator[dict]:
        """All records so far, from the file."""
        return read_results(self.path)[1]

    def close(self) -> None:
        if not self.file.closed:
            os.fsync(self.file.fileno())
            self.file.close()


def refuse_early(path, known: dict) -> None:
    """Refuse a results file, if it is there, before the minutes of calibration.

    known: some keys of the header that is to come. Raises UserError.
    """
    if Path(path).exists() and next(whole_lines(path), None):
        found, records = read_results(path)
        refuse_another(path, found, json.loads(dumps(known)), known)
        for _ in records:  # the reader refuses what is damaged
            pass


def refuse_another(path, found: dict, wanted: dict, keys: Iterable[str]) -> None:
    """Raises UserError naming the first of `keys` in which the two headers differ."""
    differs = [key for key in keys if found.get(key) != wanted.get(key)]
    if differs:
        raise UserError(
            f"{path}: of another measurement, it is not mixed with this one: it differs in "
            f"{'; '.join(difference(key, found, wanted) for key in differs[:3])}"
        )


def difference(key: str, found: dict, wanted: dict) -> str:
    """Both values where they are short; of hashes and tables the name alone."""
    values = [json.dumps(v.get(key)) for v in (found, wanted)]
    if max(map(len, values)) > 60:
        return key
    return f"{key} ({values[0]} there, {values[1]} now)"
