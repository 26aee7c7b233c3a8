"""Where mutants are put into a source file, and what is chosen at run time."""

import re
from pathlib import Path

import pytest

from fqvit_hw.places import CHECKOUT
from fqvit_hw.sim.mutants.judge import in_copy, instrumented, make_copy, mutated
from fqvit_hw.sim.mutants.operators import MUTANTS
from fqvit_hw.sim.mutants.schemata import instrument

SOURCE = "from x import y\na = f(b + c, d[1]).eq(p.q & r)\n"


@pytest.mark.parametrize(
    "old, new, what",
    [
        ("b + c", "b - c", "f(choose(7, b + c, b - c), d[1]).eq(p.q & r)"),
        ("d[1]", "d[2]", "f(b + c, choose(7, d[1], d[2])).eq(p.q & r)"),
        ("p.q", "s.q", "f(b + c, d[1]).eq(choose(7, p.q, s.q) & r)"),
        ("p.q & r", "1", "f(b + c, d[1]).eq(choose(7, p.q & r, 1))"),
        ("c, d", "d, c", "f(b + choose(7, c, d), choose(7, d[1], c[1])).eq(p.q & r)"),
        (".eq(", ".ne(", "choose(7, f(b + c, d[1]).eq(p.q & r), f(b + c, d[1]).ne(p.q & r))"),
    ],
)
def test_the_smallest_expressions(old, new, what):
    text, refused = instrument(SOURCE, [(7, SOURCE.replace(old, new))])
    assert not refused
    assert text == f"from x import y\nfrom fqvit_hw.rtl.mutant import choose\na = {what}"


def test_two_mutants_of_one_place():
    mutants = [(1, SOURCE.replace("b + c", "b - c")), (2, SOURCE.replace("c, d", "z, d"))]
    assert "f(choose(1, b + choose(2, c, z), b - c), d[1])" in instrument(SOURCE, mutants)[0]


def test_statements_are_refused():
    assert instrument(SOURCE, [(7, SOURCE + "b = 1\n")])[1].keys() == {7}


def test_the_list_fits_the_sources():
    """At least 40 mutants in at least 8 files, each with its place, names unique."""
    assert len(MUTANTS) >= 40 and len({m.file for m in MUTANTS}) >= 8
    assert len({m.name for m in MUTANTS}) == len(MUTANTS) < 256  # numbers have 8 bits
    for mutant in MUTANTS:
        assert mutated(mutant)


def test_one_machine_holds_them_all(tmp_path):
    """Each mutant that is not alone chooses something in the Verilog of the machine; what this
    machine does not build is a test's to catch."""
    make_copy(tmp_path, instrumented())
    script = (
        "from fqvit_hw.sim.networks.micro import MICRO\n"
        "from fqvit_hw.sim.mutants.schemata import emit\n"
        "print(emit(MICRO))"
    )
    made = in_copy(tmp_path, "-c", script)
    assert made.returncode == 0, made.stderr
    chosen = {int(n, 16) for n in re.findall(r"\bmutant == \d'h([0-9a-f]+)", made.stdout)}
    absent = [m for n, m in enumerate(MUTANTS, 1) if n not in chosen]
    assert chosen and all(m.alone or m.bench for m in absent)


def test_the_faults_of_the_documents_are_mutants():
    """docs/simulation.md names the mutants of what once went unnoticed."""
    rows = re.findall(
        r"^\| [^|]+ \| ([^|]+) \| [^|]+ \|$", (CHECKOUT / "docs/simulation.md").read_text(), re.M
    )
    named = {name for row in rows for name in re.findall(r"\w+-\d+", row)}
    assert len(named) > 20 and named <= {Path(m.name).name for m in MUTANTS}
