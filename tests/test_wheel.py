"""The wheel: what is in it, and that it works installed and leaves alone where it is installed.

The quick tests install it without its dependencies, which are this environment's; `pip install` of
the wheel with its extras into a fresh environment is slow, and needs a package index.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import fqvit_hw
from fqvit_hw.places import CHECKOUT, GOLDEN
from fqvit_hw.rtl.flow import verilog

SOURCES = ["pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "fqvit_hw", "rtl", "sim"]
BACKEND = "from setuptools import build_meta; print(build_meta.build_sdist('.'))"
# pip brings setuptools from the index for a build of its own where it is not installed
HERE = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []


def pip(*arguments: str | Path, python: Path | str = sys.executable) -> None:
    command = [python, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def made_wheel(source: Path, folder: Path) -> Path:
    pip("wheel", "-q", "--no-deps", *HERE, "--wheel-dir", folder, source)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of what the build reads: it leaves its own folders beside the sources."""
    folder = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        source = CHECKOUT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory) -> Path:
    return made_wheel(tree, tmp_path_factory.mktemp("wheel"))


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sources(folder: str) -> set[str]:
    """What git keeps in a folder of the checkout, as the wheel should hold it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return {name for name in listed if (CHECKOUT / name).is_file()}


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel):
    files = content(wheel)
    information = f"fqvit_hw-{fqvit_hw.__version__}.dist-info"
    assert {name.split("/")[0] for name in files} == {"fqvit_hw", information}
    expected = sources("fqvit_hw") | {
        f"fqvit_hw/{name}" for folder in ("rtl", "sim") for name in sources(folder)
    }
    assert {name for name in files if name.startswith("fqvit_hw/")} == expected
    assert {"fqvit_hw/py.typed", "fqvit_hw/rtl/flow/waivers.vlt"} <= expected
    assert not any("test" in name for name in files)
    metadata = Parser().parsestr(files[f"{information}/METADATA"].decode())
    assert metadata["Version"] == fqvit_hw.__version__
    assert set(metadata.get_all("Provides-Extra")) == {"model", "ray", "rtl", "dev"}


@pytest.mark.slow
def test_an_sdist_makes_the_same_wheel(tree, wheel, tmp_path):
    if not HERE:
        pytest.skip("setuptools is not installed")
    done = subprocess.run(
        [sys.executable, "-c", BACKEND], cwd=tree, capture_output=True, text=True, check=True
    )
    again = content(made_wheel(tree / done.stdout.splitlines()[-1], tmp_path))
    assert again.keys() == content(wheel).keys()


class Installed:
    """The package in a folder `site`, used from the folder `here`."""

    def __init__(self, python: Path | str, site: Path, here: Path, path: str = ""):
        self.python, self.site, self.here = python, site, here
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "FQVIT"))}
        cache = {"XDG_CACHE_HOME": str(here.parent / "cache")}
        self.environment = kept | cache | ({"PYTHONPATH": path} if path else {})

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess:
        """`python ARGUMENTS` in `here`."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.here, env=self.environment, capture_output=True, text=True,
        )  # fmt: skip

    def good(self, *arguments: str | Path) -> str:
        """What is printed by a run that must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def mistake(self, *arguments: str | Path) -> str:
        """The one line of a run that must be refused."""
        done = self.run(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        return done.stderr

    def files(self) -> set[tuple[str, int]]:
        """All that lies where the package is installed, with the times of its last changes."""
        found = [path for path in self.site.rglob("*") if path.is_file()]
        return {(str(path), path.stat().st_mtime_ns) for path in found}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Installed:
    """Without dependencies, before this environment's own packages on the path."""
    folder = tmp_path_factory.mktemp("installed")
    site, here = folder / "site", folder / "here"
    here.mkdir()
    pip("install", "-q", "--no-deps", "--no-index", "--target", site, wheel)
    return Installed(sys.executable, site, here, str(site))


IMPORTS = """
import sys
import fqvit_hw.commands.cli, fqvit_hw.rtl.flow.verilog
import fqvit_hw.sim.blocks.runner, fqvit_hw.sim.networks.net
inside = {}
for name, module in sys.modules.items():
    file = getattr(module, "__file__", None) or ""
    if file.startswith(sys.argv[1] + "/fqvit_hw"):
        inside[name] = file
assert inside["fqvit_hw"] == sys.argv[1] + "/fqvit_hw/__init__.py"
assert {name.split(".")[0] for name in inside} == {"fqvit_hw"}
assert len(set(inside.values())) == len(inside) > 100  # no file under two names
"""
ENGINES = """
import numpy as np
from fqvit_hw import QuantizedModel
from fqvit_hw.data import digits

qm, images = QuantizedModel.load(digits.NETWORK_FILE), digits.test_set()[0][:4]
assert np.array_equal(qm.run(images, engine="fast"), qm.run(images, engine="numpy"))
"""


def use(kit: Installed) -> None:
    """What the commands without torch do from another folder, and that nothing is left behind."""
    before = kit.files()
    here, command = kit.here, ("-m", "fqvit_hw")
    assert kit.good(*command, "--version") == f"fqvit-hw {fqvit_hw.__version__}\n"
    check = (*command, "check", "--unit", "gelu", "--got", "mine.hex")
    assert "no golden vectors here" in kit.mistake(*check)
    assert "fqvit-hw golden --out golden" in kit.mistake(*command, "golden")
    kit.good(*command, "golden", "--out", "golden")
    for made in here.glob("golden/*"):
        kept = GOLDEN / made.name
        assert made.is_dir() or made.read_bytes() == kept.read_bytes()  # the manifest, with sums
    case = next(here.glob("golden/gelu/*.y.hex"))
    shutil.copy(case, here / "mine.hex")
    one = ("--case", case.name.removesuffix(".y.hex"))
    assert "are equal" in kit.good(*check, *one)
    assert "are equal" in kit.good(*check, *one, "--golden", GOLDEN)
    assert "instructions for tiny" in kit.good(
        *command, "compile", "--config", "tiny", "--out", "program"
    )
    assert "DeiT-T" in kit.good(
        *command, "sweep", "--models", "deit_tiny", "--shapes", "16x16", "--jobs", "1"
    )
    kit.good("-c", ENGINES)
    assert list((here.parent / "cache").rglob("fast-*.so"))
    kit.good(*command, "verilog", "--block", "requantize", "--config", "tiny")
    assert (here / "build/verilog/tiny/requantize.v").read_text() == verilog.emit(
        "requantize", "tiny"
    )
    bench = ("--block", "requantize", "--config", "lanes5_w8", "--size", "small")
    assert "1 benches passed" in kit.good("-m", "fqvit_hw.sim", *bench)
    assert kit.files() == before


def test_one_name_for_every_module(installed):
    installed.good("-c", IMPORTS, installed.site)


def test_every_command_works_from_another_folder(installed):
    use(installed)


@pytest.mark.parametrize("folder", ["rtl", "sim"])
def test_a_checkout_has_one_name_for_every_module_too(folder):
    """Beside fqvit_hw/ the folders could be imported by their own names."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 1 and f"{folder} is imported as fqvit_hw.{folder}" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("extras", ["rtl", "model,ray,rtl"])
def test_a_fresh_environment(wheel, tmp_path, extras):
    """`pip install 'fqvit-hw[...]'` of the wheel: dependencies are complete, versions exist."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip("install", "-q", f"{wheel}[{extras}]", python=python)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages/fqvit_hw")
    here = tmp_path / "here"
    here.mkdir()
    kit = Installed(python, site, here)
    use(kit)
    script = tmp_path / "venv" / "bin" / "fqvit-hw"
    if extras == "rtl":
        without = kit.mistake(script, "accuracy", "--model", "digits")
        assert "pip install 'fqvit-hw[model]'" in without
    else:
        kit.good("-c", IMPORTS, site.parent)
        accuracy = ("accuracy", "--model", "digits", "--limit", "20", "--json", "accuracy.json")
        assert "integers, best" in kit.good(script, *accuracy)
