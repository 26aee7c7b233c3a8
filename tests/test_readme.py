"""README.md and docs/: the figures are those of the stored results, what they name is there."""

import importlib
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from fqvit_hw.commands.cli import build_parser
from tests.folders import image_file, use_small_model

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "golden" / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FOLDERS = ("fqvit_hw", "rtl", "sim", "tests", "golden", "docs", "benchmarks")
A_PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./*-]*")
MADE = ("mutants.md",)  # written whole by its command: mutations are no commands


def code(page: Path) -> list[str]:
    """Commands and names: what stands in back quotes, and the lines of code blocks."""
    text = page.read_text()
    blocks = "\n".join(FENCE.findall(text)).splitlines()
    return SPAN.findall(FENCE.sub("", text)) + [line.split("  #")[0].strip() for line in blocks]


CODE = [(page, line) for page in PAGES if page.name not in MADE for line in code(page)]


def where(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def readme(monkeypatch):
    """docs/readme.py, which is a command and in no package."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    yield importlib.import_module("readme")
    for name in [n for n in sys.modules if n.split(".")[0] in ("readme", "figures")]:
        del sys.modules[name]


def test_figures_are_fresh(readme):
    stale = [where(page) for page in readme.stale()]
    assert not stale, f"{', '.join(stale)}: stale, run make readme"


def test_every_figure_has_its_place(readme):
    used = {name for page in PAGES for _, name, _, _ in readme.BLOCK.findall(page.read_text())}
    assert used == set(readme.FIGURES)


def test_a_changed_result_makes_pages_stale(readme, tmp_path, monkeypatch):
    text = importlib.import_module("figures.text")
    for file in text.RESULTS.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(text, "RESULTS", tmp_path)
    assert not readme.stale()
    perf = json.loads((tmp_path / "perf.json").read_text())
    perf["deit_tiny"]["base"]["cycles"] += 1
    (tmp_path / "perf.json").write_text(json.dumps(perf))
    assert [where(page) for page in readme.stale()] == ["README.md", "docs/performance.md"]


def test_damaged_markers_are_refused(readme):
    whole = "<!-- figures: golden -->\nold\n<!-- /figures -->\n"
    assert "cases of" in readme.renewed(whole)
    for broken in (whole.replace("/figures", "figure"), whole.replace(": golden", ":golden")):
        with pytest.raises(ValueError, match="damaged"):
            readme.renewed(broken)
    with pytest.raises(ValueError, match="no figures 'gold'"):
        readme.renewed(whole.replace("golden", "gold"))


def test_stored_results_say_how_they_were_made(readme):
    folder = ROOT / "docs" / "results"
    about = json.loads((folder / "about.json").read_text())
    assert set(about) == {file.stem for file in folder.glob("*.json")} - {"about"}
    for file in folder.glob("*.json"):
        assert not re.search(r"(?:^|[\s\"'])/\w", file.read_text()), f"{file.name} names a folder"
    for made in about.values():
        assert set(made) == {"command", "date", "note"}
        check_command(made["command"])


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def options_of(command: str) -> set[str]:
    subparsers = next(a for a in build_parser()._actions if a.choices)
    assert command in subparsers.choices, f"fqvit-hw has no command {command}"
    return {option for a in subparsers.choices[command]._actions for option in a.option_strings}


def check_command(line: str) -> bool:
    """Is it a command of ours? Then what it names must be there."""
    words = shlex.split(line.replace("<", "").replace(">", " "), comments=True)
    if words[:1] == ["make"] and len(words) > 1:
        assert words[1] in targets(), f"no target {words[1]}: {line}"
    elif words[:1] == ["fqvit-hw"] and len(words) > 1:
        if not words[1].startswith("-"):
            there = options_of(words[1])
            for word in words[2:]:
                option = word.strip("[]").split("=")[0]
                assert not option.startswith("--") or option in there, f"no {option}: {line}"
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]), f"no module {words[2]}: {line}"
    elif words[:1] == ["python"] and len(words) > 1:
        assert (ROOT / words[1]).is_file(), f"no file {words[1]}: {line}"
    else:
        return False
    return True


def test_commands_exist():
    found = [line for _, line in CODE if re.match(r"(make|fqvit-hw|python) ", line)]
    assert sum(map(check_command, found)) > 50
    with pytest.raises(AssertionError, match="no target simulate"):
        check_command("make simulate BLOCK=x")
    with pytest.raises(AssertionError, match="no command verify"):
        check_command("fqvit-hw verify")
    with pytest.raises(AssertionError, match="no --gold"):
        check_command("fqvit-hw check --unit softmax --gold FILE")


def test_paths_exist():
    paths = {(page, path) for page, line in CODE for path in A_PATH.findall(line)}
    names = {(where(page), path) for page, path in paths}
    assert len(names) > 60
    missing = [f"{page}: {path}" for page, path in sorted(names) if not list(ROOT.glob(path))]
    assert not missing, missing


def test_links_lead_somewhere():
    links = {(page, link) for page in PAGES for link in LINK.findall(page.read_text())}
    inside = [(page, link) for page, link in links if "://" not in link]
    assert len(inside) > 50
    for page, link in inside:
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{where(page)}: {link}"
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}
            assert heading in anchors, f"{where(page)}: {link}"


def test_the_snippet_of_the_readme_runs(tmp_path, monkeypatch):
    snippet = re.search(r"^```python\n(.*?)^```$", PAGES[0].read_text(), re.MULTILINE | re.DOTALL)
    use_small_model(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for n in range(2):
        image_file(Path("photos") / f"{n}.jpg", seed=n)
    names = {}
    exec(snippet[1], names)
    assert names["logits"].shape == (2, 1000) and "head" in names["steps"]
    assert (names["qm"].run(names["images"]) == names["logits"]).all()
