"""`fqvit-hw report`: one page, HTML and Markdown, of all measurements in a folder."""

from ..commands.report import add_parser

__all__ = ["add_parser"]
