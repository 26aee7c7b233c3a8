"""Errors that are the user's, not the program's."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake at the command line: one clear line and exit status 2, never a traceback."""
