"""rtl.flow.replicate: copies of a flip-flop hold its value, and every input has one of them."""

from fqvit_hw.rtl.flow.replicate import EACH, LEAST, replicate

from .netlists import Maker


def made(inputs: int) -> Maker:
    """Flip-flop 10, whose enable is 8, with so many LUTs and an enable behind it."""
    maker = Maker()
    maker.ff(10, 9, ce=8)
    for n in range(inputs):
        maker.lut(1000 + n, 10)
        maker.ff(5000 + n, 1000 + n)
    maker.ff(11, 9, ce=10)
    maker.name("a", 10, *range(5000, 5000 + inputs))
    return maker


def test_each_copy_has_its_share():
    maker = made(2 * EACH + 40)
    before = {name: dict(cell["connections"]) for name, cell in maker.cells.items()}
    assert replicate({"modules": {"top": maker.module}}, "top") == 2
    copies = [name for name in maker.cells if name not in before]
    assert len(copies) == 2
    first = maker.cells["ff10"]
    drivers = {10}
    for name in copies:
        cell = maker.cells[name]
        (q,) = cell["connections"]["Q"]
        assert q not in drivers and not 1000 <= q < 5000 + 2 * EACH + 40
        drivers.add(q)
        assert cell["type"] == first["type"] and cell["parameters"] == first["parameters"]
        same = {p: bits for p, bits in cell["connections"].items() if p != "Q"}
        assert same == {p: bits for p, bits in first["connections"].items() if p != "Q"}
    shares = [maker.cells[f"lut{1000 + n}"]["connections"]["A"][0] for n in range(2 * EACH + 40)]
    assert set(shares) == drivers and shares == sorted(shares)  # neighbours together
    assert [shares.count(driver) for driver in sorted(drivers)] == [EACH, EACH, 40]
    assert maker.cells["ff11"]["connections"]["CE"] == [10]  # an enable stays
    for name, pins in before.items():  # and nothing else has changed
        for port, bits in pins.items():
            if not (name.startswith("lut") and port == "A"):
                assert maker.cells[name]["connections"][port] == bits


def test_what_drives_less_stays_alone():
    maker = made(LEAST - 1)
    assert replicate({"modules": {"top": maker.module}}, "top") == 0


def test_an_output_of_the_module_stays_alone():
    maker = made(LEAST)
    maker.port("q", "output", 10)
    assert replicate({"modules": {"top": maker.module}}, "top") == 0
