"""`fqvit-hw check`: compare a user's own RTL output with the golden vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import UserError
from ..vectors import files as vectors
from ..vectors.cases import Case, Tensor


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "check",
        help="compare your own RTL's output with the golden vectors",
        description="Compares a file of hex numbers, one element a line as in golden/, with an "
        "output of the golden vectors and names the first difference. Exit status 0 if all are "
        "equal, 1 if not.",
    )
    parser.add_argument("--unit", required=True, help="softmax, layernorm, ...")
    parser.add_argument("--got", required=True, type=Path, metavar="FILE", help="your output")
    parser.add_argument(
        "--case", help="one case; default: all cases of the unit, concatenated in manifest order"
    )
    parser.add_argument("--tensor", help="which output; default: the unit's first")
    parser.add_argument("--golden", type=Path, default=vectors.DEFAULT, metavar="DIR")
    parser.set_defaults(run=run)


def run(args) -> int:
    """Returns the exit status. Raises UserError for bad input."""
    cases = vectors.load(args.golden, args.unit)
    if args.case is not None:
        names = [case.name for case in cases]
        if args.case not in names:
            raise UserError(
                f"unknown case {args.case!r} of {args.unit}; there are {', '.join(names)}"
            )
        cases = [cases[names.index(args.case)]]
    expected = [(case, output(case, args.tensor)) for case in cases]
    try:
        text = args.got.read_text()
    except OSError as error:
        raise UserError(f"{args.got}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{args.got}: cannot be read ({error})") from None
    formats = [(tensor.data.size, tensor.format) for _, tensor in expected]
    got = vectors.from_hex(text, formats, str(args.got))
    message = first_difference(expected, got)
    total = sum(tensor.data.size for _, tensor in expected)
    print(message or f"{args.unit}: all {total} elements of {len(cases)} cases are equal")
    return 1 if message else 0


def output(case: Case, name: str | None) -> Tensor:
    """The named output of a case, or its first. Raises UserError for a name that is none."""
    outputs = case.role("output")
    name = name or next(iter(outputs))
    if name not in outputs:
        raise UserError(f"{case.unit} has no output {name!r}; there are {', '.join(outputs)}")
    return outputs[name]


def first_difference(expected: list[tuple[Case, Tensor]], got: np.ndarray) -> str | None:
    """A sentence that names the first difference, or None. got: int64 (n,), cases concatenated."""
    position = 0
    for case, tensor in expected:
        want = tensor.data.reshape(-1).astype(np.int64)
        have = got[position : position + want.size]
        wrong = np.flatnonzero(have != want[: have.size])
        if wrong.size:
            n = int(wrong[0])
            index = ", ".join(str(int(i)) for i in np.unravel_index(n, tensor.data.shape))
            return (
                f"{case.unit}: first difference in case {case.name}, index [{index}] "
                f"(element {position + n} of the file): expected {want[n]}, got {have[n]}; "
                f"{wrong.size} of {want.size} elements of the case differ"
            )
        position += want.size
        if have.size < want.size:
            return f"{case.unit}: the file ends after {got.size} elements, in case {case.name}"
    if got.size > position:
        return f"{case.unit}: the file has {got.size} elements, expected {position}"
    return None
