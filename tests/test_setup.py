"""`.ci/setup`: one clear line where it cannot go on, stamps only for what was finished."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COREUTILS = "sh dirname cksum cat date rm mv mkdir grep tail env"


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


class Machine:
    """A checkout and a PATH of our own making."""

    def __init__(self, folder: Path):
        self.root, self.bin = folder / "checkout", folder / "bin"
        (self.root / ".ci").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / ".ci" / "setup", self.root / ".ci")
        (self.root / "pyproject.toml").write_text("[project]\n")
        for name in COREUTILS.split():
            (self.bin / name).symlink_to(shutil.which(name))
        self.has("id", "echo 1000")
        self.log = folder / "pip.txt"

    def has(self, name: str, text: str = "exit 0") -> None:
        program(self.bin / name, text)

    def has_python(self) -> None:
        """A python3 whose venv holds a python that writes its arguments to the log."""
        inner = f'case "$*" in *install*) echo "$*" >>{self.log}; exit $(cat {self.log}.rc) ;; esac'
        self.has(
            "python3",
            f"""if [ "$2" = venv ]; then mkdir -p .venv/bin; cat >.venv/bin/python <<'END'
#!/bin/sh
{inner}
END
/bin/chmod +x .venv/bin/python; fi""",
        )
        self.pip_returns(0)

    def pip_returns(self, status: int) -> None:
        Path(f"{self.log}.rc").write_text(f"{status}\n")

    def setup(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.root / ".ci" / "setup", *arguments],
            env={"PATH": str(self.bin), "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
        )

    def installs(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def one_line(done: subprocess.CompletedProcess) -> str:
    assert done.returncode != 0
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("setup: "), done.stderr
    return lines[0]


def test_missing_tools_without_a_package_manager(machine):
    machine.has_python()
    line = one_line(machine.setup("all", "iverilog", "verilator", "g++"))
    assert "please install iverilog verilator g++" in line
    assert not (machine.root / ".venv").exists()


def test_packages_that_bear_other_names(machine, tmp_path):
    machine.has_python()
    (tmp_path / "there.lib").touch()
    needs = [f"{name}:{tmp_path}/{name}.lib" for name in ("there", "missing")]
    line = one_line(machine.setup("rtl", "opensta:sta", *needs))
    assert "please install opensta missing (" in line
    machine.has("sta")
    assert machine.setup("rtl", "opensta:sta", needs[0]).returncode == 0


def test_missing_tools_without_root(machine):
    machine.has_python()
    machine.has("apt-get", "exit 1")
    machine.has("sudo", "exit 1")  # sudo -n: a password is needed
    machine.has("g++")
    line = one_line(machine.setup("all", "iverilog", "g++"))
    assert "please install iverilog (Debian, Ubuntu: apt-get install iverilog)" in line


def test_no_python_that_is_new_enough(machine):
    machine.has("python3", "exit 1")
    line = one_line(machine.setup("rtl"))
    assert "python3-venv" in line and "3.11 or newer" in line


def test_packages_come_from_debian_with_root(machine, tmp_path):
    machine.has_python()
    machine.has("id", "echo 0")
    machine.has(
        "apt-get",
        f'echo "$*" >>{tmp_path}/apt.txt\n'
        f'case "$1" in install) echo "exit 0" >{machine.bin}/iverilog; '
        f"/bin/chmod +x {machine.bin}/iverilog ;; esac",
    )
    done = machine.setup("rtl", "iverilog")
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "apt.txt").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["update", "install"]
    assert calls[1].endswith(" iverilog")


def test_apt_get_that_fails_is_named(machine):
    machine.has_python()
    machine.has("id", "echo 0")
    machine.has("apt-get", 'echo "E: no network"; exit 100')
    line = one_line(machine.setup("rtl", "iverilog"))
    assert "apt-get failed (E: no network)" in line


def test_a_second_call_installs_nothing(machine):
    machine.has_python()
    for arguments in (("rtl",), ("rtl",), ("all",), ("all",), ("rtl",)):
        assert machine.setup(*arguments).returncode == 0
    assert [call.split()[-1] for call in machine.installs()] == [".[rtl]", ".[model,ray,rtl,dev]"]


def test_all_contains_rtl(machine):
    machine.has_python()
    machine.setup("all")
    done = machine.setup("rtl")
    assert done.returncode == 0 and not done.stdout
    assert len(machine.installs()) == 1


def test_a_changed_pyproject_installs_again(machine):
    machine.has_python()
    machine.setup("rtl")
    (machine.root / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    machine.setup("rtl")
    assert len(machine.installs()) == 2


def test_an_interrupted_installation_leaves_no_stamp(machine):
    machine.has_python()
    machine.pip_returns(1)
    assert "pip could not install .[rtl]" in one_line(machine.setup("rtl"))
    machine.pip_returns(0)
    assert machine.setup("rtl").returncode == 0
    assert len(machine.installs()) == 2


def test_make_without_a_target_lists_the_targets():
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")]
    wanted = (
        "help setup sim sim-net sim-deit perf mutants test test-slow golden accuracy bench verilog",
        "synth timing pnr asic energy readme lint clean",
    )
    assert " ".join(listed) == " ".join(wanted)
