"""Errors that are the user's, not the program's: a command shows each as one line, status 2.

Where a documented error of the API is of another built-in class, a subclass is both: the caller of
the API may catch TypeError, ImportError or RuntimeError as documented.
"""

from __future__ import annotations


class UserError(ValueError):
    """What was given is wrong, or does not fit what it is for."""


class UserTypeError(UserError, TypeError):
    """What was given is of another kind than was asked for."""


class MissingError(UserError, ImportError):
    """A package or a compiler that is not there; the message says how to get it."""


class ToolError(UserError, RuntimeError):
    """A program outside the kit is missing, too old, or failed; the message names it or its log."""
