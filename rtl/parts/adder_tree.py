"""Sums of several values: a register after every node of up to four."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value

FAN_IN = 4  # operands of a node: two adders between registers


def balanced_sum(terms: list) -> Value:
    """The sum of `terms` as a balanced tree: log2(n) more bits, log2(n) adders deep."""
    if len(terms) == 1:
        return terms[0]
    half = (len(terms) + 1) // 2
    return balanced_sum(terms[:half]) + balanced_sum(terms[half:])


def tree_latency(count: int) -> int:
    """Registers of a tree of so many values."""
    levels = 0
    while count > 1:
        levels, count = levels + 1, -(-count // FAN_IN)
    return levels


def adder_tree(m: Module, values: list, name: str) -> Value:
    """The sum of `values`, tree_latency(len(values)) cycles later."""
    level = 0
    while len(values) > 1:
        nodes = [balanced_sum(values[n : n + FAN_IN]) for n in range(0, len(values), FAN_IN)]
        values = [
            Signal(node.shape(), name=f"sum_{name}{level}_{n}", reset_less=True)
            for n, node in enumerate(nodes)
        ]
        m.d.sync += [register.eq(node) for register, node in zip(values, nodes, strict=True)]
        level += 1
    return values[0]
