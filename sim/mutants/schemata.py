"""All mutants in one machine: a number at a port of its own says which one is alive.

Building a machine takes a minute or more, so it is done once. Where a mutant changes an expression
of the sources, `instrument` puts `choose(number, old, new)`, which becomes a multiplexer of the
shape of the old: with number 0 the machine is exactly the one without mutations.
`python -m fqvit_hw.sim.mutants.schemata FOLDER CONFIG`, run in a copy of the project with such
sources, builds it.
"""

from __future__ import annotations

import ast
import copy
import sys
from pathlib import Path
from typing import Any

from fqvit_hw.machine.hardware import Hardware

PORT = "mutant"
MODULE = '''"""Made by sim/mutants/schemata.py: which mutant is alive, and its choice."""

from amaranth.hdl import Mux, Signal, Value

SELECT = Signal(8, name="mutant")


def choose(number, old, new):
    """New while mutant `number` is alive, cut to the shape of the old. Constants keep their own."""
    old_value, new_value = Value.cast(old), Value.cast(new)
    if not isinstance(old, int):
        shape = old_value.shape()
        new_value = new_value[: shape.width] if shape.width < len(new_value) else new_value
        if shape.signed and len(new_value) == shape.width:
            new_value = new_value.as_signed()
        elif not shape.signed and len(new_value) == shape.width:
            new_value = new_value.as_unsigned()
        chosen = Mux(SELECT == number, new_value, old_value)[: shape.width]
        return chosen.as_signed() if shape.signed else chosen
    return Mux(SELECT == number, new_value, old_value)
'''


class NotAnExpressionError(ValueError):
    """The mutation cannot be chosen at run time: it changes more than expressions."""


def differences(old: ast.AST, new: ast.AST) -> list[tuple[ast.expr, ast.expr]]:
    """The smallest expressions, values of hardware by their place, in which two trees differ."""
    if ast.dump(old) == ast.dump(new):
        return []
    found = inside(old, new)
    if found is not None:
        return found
    if isinstance(old, ast.expr) and isinstance(new, ast.expr):
        return [(old, new)]
    raise NotAnExpressionError("more than expressions differ")


def inside(old: ast.AST, new: ast.AST) -> list[tuple[ast.expr, ast.expr]] | None:
    """The differences of the children, or None if the nodes themselves differ."""
    if type(old) is not type(new) or isinstance(old, (ast.Attribute, ast.Subscript)):
        return None  # what they are taken of need not be a value
    if (
        isinstance(old, ast.Call)
        and isinstance(new, ast.Call)
        and ast.dump(old.func) != ast.dump(new.func)
    ):
        if not isinstance(old.func, ast.Attribute) or not isinstance(new.func, ast.Attribute):
            return None
        if old.func.attr != new.func.attr:
            return None
        arguments = in_children(ast.Tuple(old.args), ast.Tuple(new.args))
        receiver = differences(old.func.value, new.func.value)
        return None if arguments is None else receiver + arguments
    return in_children(old, new)


def in_children(old: ast.AST, new: ast.AST) -> list[tuple[ast.expr, ast.expr]] | None:
    found = []
    for (_, a), (_, b) in zip(ast.iter_fields(old), ast.iter_fields(new), strict=True):
        a, b = (value if isinstance(value, list) else [value] for value in (a, b))
        if len(a) != len(b):
            return None
        for x, y in zip(a, b, strict=True):
            if isinstance(x, ast.AST) and isinstance(y, ast.AST):
                if isinstance(x, (ast.operator, ast.cmpop, ast.unaryop, ast.boolop)):
                    if type(x) is not type(y):
                        return None
                    continue
                try:
                    found += differences(x, y)
                except NotAnExpressionError:
                    if isinstance(old, ast.expr):
                        return None
                    raise
            elif x != y:
                return None
    return found


def instrument(text: str, mutants: list[tuple[int, str]]) -> tuple[str, dict[int, str]]:
    """text: a source file; mutants: number and mutated text of each.

    -> the source with all of them, and for every mutant that cannot be among them the reason.
    """
    tree = ast.parse(text)
    places: dict[int, list[tuple[int, ast.expr]]] = {}
    refused = {}
    for number, mutated in mutants:
        try:
            found = differences(tree, ast.parse(mutated))
        except NotAnExpressionError as error:
            refused[number] = str(error)
            continue
        for old, new in found:
            places.setdefault(id(old), []).append((number, new))

    class Chooser(ast.NodeTransformer):
        def visit(self, node: Any) -> Any:  # types as in ast: what stands in the node's place
            alternatives = places.get(id(node), [])
            self.generic_visit(node)  # changes its children in place
            for number, new in alternatives:
                call = ast.Name("choose", ast.Load())
                node = ast.Call(call, [ast.Constant(number), node, copy.deepcopy(new)], [])
            return node

    tree = Chooser().visit(tree)
    at = next(n for n, s in enumerate(tree.body) if isinstance(s, ast.ImportFrom)) + 1
    tree.body.insert(at, ast.parse("from fqvit_hw.rtl.mutant import choose").body[0])
    return ast.unparse(ast.fix_missing_locations(tree)), refused


def emit(hw: Hardware) -> str:
    """The Verilog of a machine with the port that chooses: in a copy with `rtl/mutant.py` alone."""
    from amaranth.back import verilog
    from amaranth.hdl._ir import PortDirection
    from fqvit_hw.rtl.mutant import SELECT  # pyright: ignore[reportMissingImports]  # it is MODULE

    from fqvit_hw.rtl.accelerator.accelerator import Accelerator
    from fqvit_hw.rtl.flow.verilog import readable, without_zeros

    from ..networks.verilated import TOP, unset

    top = Accelerator(hw, trace=True)
    ports = {PORT: (SELECT, PortDirection.Input)}
    for path, member, value in top.signature.flatten(top):
        direction = "Input" if member.flow.name == "In" else "Output"
        value = value.as_value() if hasattr(value, "as_value") else value
        ports["__".join(map(str, path))] = (value, PortDirection[direction])
    text = verilog.convert(top, name=TOP, ports=ports, strip_internal_attrs=True, emit_src=False)
    return unset(without_zeros(readable(text)))


def main(arguments: list[str]) -> None:
    from ..networks.micro import SIZES
    from ..networks.verilated import QUICK, TOP, compile_verilog, header

    folder, hw = Path(arguments[0]), SIZES[arguments[1]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{TOP}.v").write_text(emit(hw))
    (folder / "machine.h").write_text(header(hw, True) + "#define MUTANTS\n")
    compile_verilog(folder, QUICK)


if __name__ == "__main__":
    main(sys.argv[1:])
