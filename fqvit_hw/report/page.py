"""The parts of a page as one HTML file that needs nothing beside it, and as Markdown."""

from __future__ import annotations

import base64
import re
from html import escape

from .parts import Part

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff;
  max-width: 76rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; margin-bottom: .3rem; }
h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid #d5dae1;
  padding-bottom: .25rem; overflow-wrap: anywhere; }
figure { margin: 1.2rem 0; }
figcaption { color: #4b5665; font-size: .9rem; max-width: 60rem; margin-bottom: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .28rem .6rem; border-bottom: 1px solid #e3e7ec; text-align: right;
  white-space: nowrap; }
th { border-bottom: 2px solid #aab4c0; font-weight: 600; white-space: normal;
  vertical-align: bottom; }
th.text, td.text { text-align: left; }
th.long, td.long { white-space: normal; overflow-wrap: anywhere; text-align: left; }
tr.ours td { background: #eef4fb; }
.warning { background: #fff5e0; border-left: 4px solid #d98a00; padding: .6rem .9rem;
  max-width: 60rem; }
img { max-width: 100%; height: auto; }
"""


def to_html(parts: list[Part]) -> str:
    title = next(part.text for part in parts if part.kind == "title")
    body = "\n".join(html_part(part) for part in parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def html_part(part: Part) -> str:
    text = escape(part.text)
    if part.kind == "table":
        return f"<figure><figcaption>{text}</figcaption>{html_table(part)}</figure>"
    if part.kind == "picture":
        data = base64.b64encode(part.png).decode()
        image = f'<img alt="{text}" src="data:image/png;base64,{data}">'
        return f"<figure><figcaption>{text}</figcaption>{image}</figure>"
    tag = {"title": "h1", "heading": "h2", "subheading": "h3"}.get(part.kind, "p")
    kind = ' class="warning"' if part.kind == "warning" else ""
    return f"<{tag}{kind}>{text}</{tag}>"


def html_table(part: Part) -> str:
    classes = [cell_class(column) for column in zip(*part.rows, strict=True)]

    def row(tag, values, kind=""):
        line = "".join(
            f"<{tag}{kind_of}>{escape(value)}</{tag}>"
            for value, kind_of in zip(values, classes, strict=True)
        )
        return f"<tr{kind}>{line}</tr>"

    lines = [
        row("td", values, ' class="ours"' if i in part.ours else "")
        for i, values in enumerate(part.rows)
    ]
    return (
        f'<div class="scroll"><table><thead>{row("th", part.head)}</thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def cell_class(values: tuple[str, ...]) -> str:
    """Columns of figures are set to the right, words to the left, long words may break."""
    if all(re.match(r"[-+−]?\d|exact|$", value) for value in values):
        return ""
    return ' class="long"' if max(map(len, values)) > 45 else ' class="text"'


def to_markdown(parts: list[Part], pictures: str) -> str:
    """pictures: the folder, relative to the page, that holds NAME.png of every picture."""
    return "\n\n".join(markdown_part(part, pictures) for part in parts) + "\n"


def markdown_part(part: Part, pictures: str) -> str:
    text = plain(part.text)
    if part.kind == "table":
        return f"{text}\n\n{markdown_table(part)}"
    if part.kind == "picture":
        return f"{text}\n\n![{part.name}]({pictures}/{part.name}.png)"
    prefix = {"title": "# ", "heading": "## ", "subheading": "### ", "warning": "> **Note** "}
    return prefix.get(part.kind, "") + text


def markdown_table(part: Part) -> str:
    lines = [part.head, ("---",) * len(part.head)]
    lines += [
        (f"**{plain(first)}**" if i in part.ours and first else plain(first), *map(plain, rest))
        for i, (first, *rest) in enumerate(part.rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """Text that Markdown shows as it stands, on one line."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))
