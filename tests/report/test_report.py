"""`fqvit-hw report`: one page of everything in a folder, which asks nothing of any server."""

import json
import re
from html.parser import HTMLParser

import pytest

from fqvit_hw.commands import cli
from fqvit_hw.report.content import is_whole
from fqvit_hw.report.paper import MODELS, ROWS
from tests.folders import imagenet, use_small_model

pytest.importorskip("torch", reason="the measurements need torch")
pytest.importorskip("matplotlib", reason="the pictures need matplotlib")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder with a measurement of a small model under DeiT-Tiny's name, of two classes."""
    folder = tmp_path_factory.mktemp("results")
    data = imagenet(folder / "IMAGENET")
    (data / "val" / "n01440764" / "<b>&.JPEG").write_bytes(b"broken")
    with pytest.MonkeyPatch.context() as patch:
        name = use_small_model(patch)
        arguments = ["accuracy", "--no-reference", "--model", name, "--data", str(data)]
        arguments += ["--config", "paper-884", "best", "--noise", "2"]
        assert cli.main([*arguments, "--results", str(folder / "deit <x>.jsonl")]) == 0
    return folder


class Page(HTMLParser):
    """Counts tags and collects everything that a browser would fetch, and the text."""

    def __init__(self, content: str):
        super().__init__()
        self.tags, self.links, self.text = {}, [], []
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.links += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.text.append(data)


def build(results, tmp_path):
    assert cli.main(["report", str(results), "--out", str(tmp_path)]) == 0
    return (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()


def test_page(results, tmp_path, capsys):
    html, markdown = build(results, tmp_path)
    assert "1 measurements" in capsys.readouterr().out
    page = Page(html)
    assert page.tags["img"] == 4 and len(page.links) == 4
    assert all(link.startswith("data:image/png;base64,iVBOR") for link in page.links)
    assert "script" not in page.tags and "link" not in page.tags and "url(" not in html
    assert "b" not in page.tags and "x" not in page.tags  # names of files are escaped
    assert "n01440764/<b>&.JPEG" in page.text and "deit_tiny: deit <x>.jsonl" in page.text
    for _, _, figures in ROWS:
        assert all(f"{x:.2f}" in page.text for x in figures)
    assert "not the 50,000 images" in " ".join(page.text)
    summary = json.loads((results / "deit <x>.json").read_text())
    for run in summary["runs"]:
        assert f"Integers: {run['configuration']}" in page.text
        assert f"{100 * run['integer']['top1']:.2f}†" in page.text
    assert page.text.count("8/8,16/4") == 1  # best keeps its residual stream in 16 bits
    # the same in Markdown, with the pictures beside it
    pictures = re.findall(r"\]\((report_pictures/[^)]+\.png)\)", markdown)
    assert len(pictures) == 4
    assert all((tmp_path / p).read_bytes().startswith(b"\x89PNG") for p in pictures)
    assert r"n01440764/\<b\>&.JPEG" in markdown
    columns = {line.count("|") for line in markdown.splitlines() if line.startswith("| FQ-ViT")}
    assert columns == {len(MODELS) + 3}


def test_an_interrupted_run_is_reported_from_its_records(results, tmp_path):
    folder = tmp_path / "half"
    folder.mkdir()
    content = (results / "deit <x>.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "half.jsonl").write_bytes(b"".join(content[:8]) + content[8][:20])
    html, _ = build(folder, tmp_path / "out")
    page = Page(html)
    assert "img" not in page.tags
    assert "The layers of this run were not measured (accuracy --noise)." in page.text
    broken = sum(b'"broken"' in line for line in content[1:8])
    assert str(7 - broken) in page.text


def test_a_summary_alone_will_do(results, tmp_path):
    (tmp_path / "a.json").write_bytes((results / "deit <x>.json").read_bytes())
    html, _ = build(tmp_path, tmp_path / "out")
    assert Page(html).tags["img"] == 4


def test_whole_validation_set_without_a_warning(results, tmp_path):
    summary = json.loads((results / "deit <x>.json").read_text())
    assert len(summary["skipped"]) == 1
    summary["images"], summary["header"]["data"]["images"] = 49_999, 50_000
    (tmp_path / "a.json").write_text(json.dumps(summary))
    html, markdown = build(tmp_path, tmp_path / "out")
    assert "must not be compared" not in html and "†" not in html
    assert "**Note**" not in markdown


@pytest.mark.parametrize(
    ("images", "folder", "skipped"),
    [(50_000, 60_000, 0), (49_999, 50_000, 0), (50_000, 50_000, 1), (16, 17, 1)],
)
def test_what_is_not_the_whole_validation_set(images, folder, skipped):
    """Also 50,000 of more, as --limit gives them."""
    summary = {"header": {"data": {"images": folder}}, "images": images, "skipped": [{}] * skipped}
    assert not is_whole(summary)


def test_files_of_others_are_named_and_left_alone(results, tmp_path, capsys):
    (tmp_path / "a.json").write_bytes((results / "deit <x>.json").read_bytes())
    (tmp_path / "throughput.json").write_text('{"speed": 3}')
    (tmp_path / "b.json").write_text("no json")
    (tmp_path / "c.jsonl").write_text("no json\n")
    build(tmp_path, tmp_path / "out")
    err = capsys.readouterr().err
    assert all(name in err for name in ("throughput.json", "b.json", "c.jsonl"))
    assert len(err.splitlines()) == 3


def test_an_image_that_stands_twice_is_in_no_figure(results, tmp_path, capsys):
    """Nor is the summary beside it trusted."""
    content = (results / "deit <x>.jsonl").read_bytes()
    (tmp_path / "a.jsonl").write_bytes(content + content.splitlines(keepends=True)[1])
    (tmp_path / "a.json").write_bytes((results / "deit <x>.json").read_bytes())
    assert cli.main(["report", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "a.jsonl, line 18: n01440764/" in err and "stands there twice" in err


@pytest.mark.parametrize("lacks", ["images", "float", "runs", "skipped", "top1", "data"])
def test_a_summary_that_lacks_something_is_named(results, tmp_path, capsys, lacks):
    summary = json.loads((results / "deit <x>.json").read_text())
    inside = {"top1": summary["runs"][0]["integer"], "data": summary["header"]}.get(lacks, summary)
    del inside[lacks]
    (tmp_path / "a.json").write_text(json.dumps(summary))
    (tmp_path / "header.json").write_text(json.dumps({"header": summary["header"]}))
    assert cli.main(["report", str(tmp_path)]) == 2
    first, second, last = capsys.readouterr().err.splitlines()
    assert "a.json: a damaged summary" in first and lacks in first
    assert "header.json: a damaged summary" in second and "no measurements" in last


def test_a_page_that_cannot_be_written(results, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert cli.main(["report", str(results), "--out", str(tmp_path / "file" / "x")]) == 2
    assert capsys.readouterr().err.endswith("/file: expected a folder to write in, it is a file\n")


def test_nothing_to_report(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "absent"):
        assert cli.main(["report", str(folder)]) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1 and str(folder) in err
