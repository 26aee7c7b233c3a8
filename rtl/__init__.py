"""Amaranth RTL of every block; see docs/rtl.md for what all blocks have in common."""
