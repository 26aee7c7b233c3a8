"""The mutants of `make mutants`: one changed operator or constant each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """old: text that occurs once in `file`; new: what it becomes; breaks: in a few words.

    bench: a test file that must catch what no network shows (a case that only corner values reach).
    """

    name: str
    file: str
    old: str
    new: str
    breaks: str
    bench: str | None = None


MUTANTS: tuple[Mutant, ...] = ()
