"""fqvit_hw.rtl.flow.pins: the array's multipliers stand side by side."""

import re

import pytest

from fqvit_hw.rtl.flow.pins import GROUPS, PLACES, RAM_ROW, RAMS, ROWS, pin, products

from .netlists import Maker

WIDTH = 4  # bits of a term


def array(rows: int, cols: int, others: int = 1) -> dict:
    """Multipliers whose products are `terms`, and others."""
    made = Maker()
    bit = 10
    for c in range(cols):
        terms = list(range(bit, bit + rows * WIDTH))
        bit += rows * WIDTH
        made.name(f"block.array.terms{c}", *terms)
        for r in reversed(range(rows)):
            pins: dict = {f"P{n}": terms[r * WIDTH + n] for n in range(WIDTH)}
            made.cell("MULT18X18D", f"m{r}_{c}", **pins)
    for n in range(others):
        made.cell("MULT18X18D", f"other{n}", P0=bit + n)
    return {"modules": {"top": made.module}}


def with_memory(netlist: dict, rows: int, cols: int, each: int) -> dict:
    """A block RAM for `each` multipliers of a column, and one that goes nowhere."""
    cells = netlist["modules"]["top"]["cells"]
    bit = 100_000
    for c in range(cols):
        for first in range(0, rows, each):
            data = {}
            for n, r in enumerate(range(first, min(first + each, rows))):
                cells[f"m{r}_{c}"]["connections"] |= {"A0": [bit], "B0": ["0"]}
                data[f"DOA{n}"] = [bit]
                bit += 1
            cells[f"ram{first}_{c}"] = {"type": "DP16KD", "attributes": {}, "connections": data}
    cells["alone"] = {"type": "DP16KD", "attributes": {}, "connections": {"DOA0": [bit]}}
    return netlist


def places(netlist: dict) -> dict[str, tuple[int, int, int]]:
    """Cell to x, y and z."""
    found = {}
    for name, cell in netlist["modules"]["top"]["cells"].items():
        if "BEL" in cell["attributes"]:
            match = re.fullmatch(r"X(\d+)/Y(\d+)/(?:MULT18_|EBR)(\d)", cell["attributes"]["BEL"])
            assert match, cell["attributes"]["BEL"]
            found[name] = tuple(map(int, match.groups()))
    return found


def test_the_chip_has_156_places():
    assert len(ROWS) * len(GROUPS) * len(PLACES) == 156
    assert GROUPS == (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)


def test_columns_are_found_by_their_terms():
    found = products(array(3, 2)["modules"]["top"])
    assert found == [["m0_0", "m1_0", "m2_0"], ["m0_1", "m1_1", "m2_1"]]


@pytest.mark.parametrize(("rows", "cols"), [(8, 16), (4, 4), (1, 39), (4, 39), (5, 18), (12, 12)])
def test_every_multiplier_of_the_array_has_a_place_of_its_own(rows, cols):
    netlist = array(rows, cols)
    assert pin(netlist, "top") == rows * cols
    found = places(netlist)
    assert len(set(found.values())) == len(found) == rows * cols
    for x, y, z in found.values():
        assert y in ROWS and z in PLACES and x - z in GROUPS
    for c in range(cols):  # neighbouring groups of one row
        column = [found[f"m{r}_{c}"] for r in range(rows)]
        groups = sorted({GROUPS.index(x - z) for x, _, z in column})
        assert len({y for _, y, _ in column}) == 1
        assert groups == list(range(groups[0], groups[0] + -(-rows // 4)))


@pytest.mark.parametrize(("rows", "cols", "each"), [(8, 16, 4), (4, 4, 4), (4, 39, 1), (8, 3, 8)])
def test_a_memory_stands_above_the_multipliers_that_it_feeds(rows, cols, each):
    netlist = with_memory(array(rows, cols), rows, cols, each)
    pin(netlist, "top")
    found = places(netlist)
    assert len(set(found.values())) == len(found) and "alone" not in found
    for c in range(cols):
        for first in range(0, rows, each):
            x, y, n = found[f"ram{first}_{c}"]
            column = [found[f"m{r}_{c}"] for r in range(first, first + each)]
            assert (x - RAMS[n], y - RAM_ROW) in {(x - z, y) for x, y, z in column}


def test_more_memories_than_stand_above_a_group_go_elsewhere():
    netlist = with_memory(array(4, 1), 4, 1, 1)
    cells = netlist["modules"]["top"]["cells"]
    cells["m0_0"]["connections"]["A1"] = [999_999]
    cells["fifth"] = {"type": "DP16KD", "attributes": {}, "connections": {"DOA0": [999_999]}}
    pin(netlist, "top")
    assert len([name for name in places(netlist) if name == "fifth" or "ram" in name]) == 4


def test_what_is_free_of_a_row_is_in_its_middle():
    """5, 5 and 6 columns of two groups, of 13."""
    netlist = array(8, 16)
    pin(netlist, "top")
    taken = {(x - z, y) for x, y, z in places(netlist).values()}
    for y, free in ((10, (6, 7, 8)), (34, (6, 7, 8)), (58, (6,))):
        assert {n for n, x in enumerate(GROUPS) if (x, y) not in taken} == set(free)


def test_an_array_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="array of 8 x 19 multipliers has no place"):
        pin(array(8, 19), "top")
    with pytest.raises(ValueError, match="array of 53 x 1 multipliers"):
        pin(array(53, 1), "top")


def test_a_block_without_an_array_is_left_alone():
    netlist = array(0, 0, others=3)
    assert pin(netlist, "top") == 0 and not places(netlist)
