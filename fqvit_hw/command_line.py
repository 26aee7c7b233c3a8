"""What every command line of the kit shares: one line for a mistake, exit status 2."""

from __future__ import annotations

import argparse

USER_ERRORS = (ValueError, TypeError, OSError, OverflowError, ImportError)


class Parser(argparse.ArgumentParser):
    """Argument errors too are one line."""

    def error(self, message):
        raise ValueError(f"{message} (see {self.prog} --help)")


def one_line(error: BaseException) -> str:
    """The message on one line; OSError's as 'name: reason'."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
