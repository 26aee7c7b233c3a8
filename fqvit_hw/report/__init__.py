"""`fqvit-hw report`: one page, HTML and Markdown, of all measurements in a folder."""

from .command import add_parser

__all__ = ["add_parser"]
