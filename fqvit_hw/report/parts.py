"""What a page is made of: a list of parts, which HTML and Markdown render each in their way."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """One part of the page; all text is plain and is escaped by the renderer.

    kind: "title", "heading", "subheading", "text", "warning", "table" or "picture"
    text: of the part; of a table or picture, its caption
    head, rows: of a table, a cell each; ours: indices of rows to set off
    name, png: of a picture, the name a file name without suffix
    """

    kind: str
    text: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    ours: frozenset[int] = field(default_factory=frozenset)
    name: str = ""
    png: bytes = b""
