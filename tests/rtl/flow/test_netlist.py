"""fqvit_hw.rtl.flow.netlist: which bits are nets, and what they are called."""

from fqvit_hw.rtl.flow.netlist import names, nets


def test_constants_are_no_nets():
    assert nets([3, "0", 7, "x", "1"]) == [3, 7]


def test_a_net_has_the_shortest_name_of_the_source():
    given = {
        "$auto$1": {"hide_name": 1, "bits": [5, 6]},
        "block.sum": {"hide_name": 0, "bits": [5, "0"]},
        "o": {"hide_name": 0, "bits": [5]},
    }
    assert names(given) == {5: "o", 6: "$auto$1[1]"}
