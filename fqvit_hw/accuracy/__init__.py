"""`fqvit-hw accuracy`: what the integers cost, image by image. See command.py."""

from ..commands.accuracy import add_parser

__all__ = ["add_parser"]
