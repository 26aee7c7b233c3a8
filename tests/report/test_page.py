"""The two renderers: what stands on the page is what was said, whatever characters it has."""

import base64

from fqvit_hw.report.page import cell_class, to_html, to_markdown
from fqvit_hw.report.parts import Part

ODD = 'a|b <c> & "d" *e* `f` [g](h) \\i'
PARTS = [
    Part("title", ODD),
    Part("heading", ODD),
    Part("warning", ODD),
    Part("table", ODD, head=("name", "1"), rows=((ODD, "2"), ("x", "-3.5")), ours=frozenset({1})),
    Part("picture", ODD, name="p", png=b"\x89PNG"),
]


def test_html_escapes():
    html = to_html(PARTS)
    escaped = "a|b &lt;c&gt; &amp; &quot;d&quot; *e* `f` [g](h) \\i"
    assert "<c>" not in html and html.count(escaped) == 8  # title twice, picture twice
    assert f"<h1>{escaped}</h1>" in html and f'<p class="warning">{escaped}</p>' in html
    assert '<tr class="ours"><td class="text">x</td><td>-3.5</td></tr>' in html
    data = base64.b64encode(b"\x89PNG").decode()
    assert f'src="data:image/png;base64,{data}"' in html


def test_markdown_escapes():
    markdown = to_markdown(PARTS, "pictures")
    escaped = r'a\|b \<c\> & "d" \*e\* \`f\` \[g\](h) \\i'
    assert markdown.startswith(f"# {escaped}\n\n## {escaped}\n\n> **Note** {escaped}\n\n")
    assert f"| name | 1 |\n| --- | --- |\n| {escaped} | 2 |\n| **x** | -3.5 |" in markdown
    assert "![p](pictures/p.png)" in markdown


def test_columns():
    assert cell_class(("1.5", "-2", "", "exact", "+3 ± 1")) == ""
    assert cell_class(("a", "2")) == ' class="text"'
    assert cell_class(("a" * 64,)) == ' class="long"'
