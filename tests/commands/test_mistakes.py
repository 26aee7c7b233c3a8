"""What every command line does with a mistake, a fault of the program, Ctrl-C and a closed pipe."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fqvit_hw
from fqvit_hw import errors
from fqvit_hw.command_line import EXTRAS, program
from fqvit_hw.commands import cli
from fqvit_hw.sim.networks import net

ROOT = Path(__file__).resolve().parents[2]


def main_that_raises(error: BaseException):
    @program("kit")
    def main(arguments=None):
        raise error

    return main


class OutOfMemoryError(RuntimeError):
    """By its name torch's."""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (errors.UserError("no such\n  thing"), "no such thing"),
        (errors.UserTypeError("a list"), "a list"),
        (errors.MissingError("no compiler"), "no compiler"),
        (errors.ToolError("verilator is missing"), "verilator is missing"),
        (FileNotFoundError(2, "No such file", "x.png"), "x.png: No such file"),
        (
            ModuleNotFoundError("", name="torch.nn"),
            "torch.nn is missing: pip install 'fqvit-hw[mod",
        ),
        (
            ModuleNotFoundError("", name="amaranth"),
            "amaranth is missing: pip install 'fqvit-hw[rtl",
        ),
        (OutOfMemoryError("CUDA out of memory"), "CUDA out of memory"),
    ],
)
def test_a_mistake_is_one_line(capsys, error, line):
    assert main_that_raises(error)() == 2
    said = capsys.readouterr().err
    assert said.startswith(f"kit: error: {line}") and said.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("operands could not be broadcast"),
        TypeError("unsupported operand"),
        OverflowError("int too large"),
        RuntimeError("not reached"),
        ImportError("cannot import name"),
        ModuleNotFoundError("No module named 'fqvit_hw.unit'", name="fqvit_hw.unit"),
    ],
)
def test_a_fault_of_the_program_is_no_mistake(error):
    with pytest.raises(type(error)):
        main_that_raises(error)()


def test_the_user_stops_it(capsys):
    assert main_that_raises(KeyboardInterrupt())() == 130
    assert capsys.readouterr().err == "kit: interrupted\n"


def test_errors_are_of_the_documented_classes():
    for kind, builtin in (
        (errors.UserTypeError, TypeError),
        (errors.MissingError, ImportError),
        (errors.ToolError, RuntimeError),
    ):
        assert issubclass(kind, builtin) and issubclass(kind, errors.UserError)
    assert issubclass(errors.UserError, ValueError)


def fault(*arguments, **options):
    raise TypeError("deep inside")


def test_fqvit_hw_shows_a_faults_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr("fqvit_hw.machine.isa.Instruction.encode", fault)
    with pytest.raises(TypeError, match="deep inside"):
        cli.main(["compile", "--out", str(tmp_path)])


def test_sim_net_shows_a_faults_traceback(monkeypatch):
    monkeypatch.setattr("fqvit_hw.data.digits.test_set", fault)
    with pytest.raises(TypeError, match="deep inside"):
        net.main(["--images", "1"])


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_a_fault_is_a_traceback_on_the_screen():
    done = python(
        "import sys\n"
        "from fqvit_hw.commands import check, cli\n"
        "check.vectors.load = lambda *a: 1 + ''\n"
        "sys.exit(cli.main(['check', '--unit', 'gelu', '--got', 'x']))"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback") and "TypeError: unsupported" in done.stderr


PRINTS = """
import sys
from fqvit_hw.command_line import program
@program("kit")
def main(arguments=None):
    for n in range(100_000):
        print("a line of a long table")
sys.exit(main())
"""


def test_a_reader_that_leaves_is_not_told():
    with subprocess.Popen(
        [sys.executable, "-c", PRINTS], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read()
    assert (running.returncode, said) == (141, b"")


def test_another_broken_pipe_is_told(capsys):
    """Of a program that a command feeds, say: not of stdout."""
    assert main_that_raises(BrokenPipeError(32, "Broken pipe"))() == 2
    assert "Broken pipe" in capsys.readouterr().err


def test_every_module_of_an_extra_is_of_that_extra():
    """The table follows pyproject.toml: distributions that bear another name are named here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    distributions = {"PIL": "pillow", "cocotb_tools": "cocotb"}
    for module, extra in EXTRAS.items():
        name = distributions.get(module, module.replace("_", "-"))
        wanted = project["optional-dependencies"][extra]
        assert any(w.startswith((f"{name}=", f"{name}>", f"{name}[")) for w in wanted), module


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"fqvit-hw {fqvit_hw.__version__}\n"
    cited = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {fqvit_hw.__version__}\n" in cited


def test_python_m_fqvit_hw_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "fqvit_hw", "check"], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("fqvit-hw: error: ")
