"""The program as a person reads it: one line per instruction."""

from __future__ import annotations

from ..machine.isa import INSTRUCTIONS, Epilogue, Instruction, Space, Unit

HIDDEN = {"opcode", "layer"}
NAMED = {"epilogue": Epilogue, "space": Space}


def waits(instruction: Instruction) -> str:
    found = []
    for n in range(3):
        unit = instruction.fields.get(f"wait{n}_unit", 0)
        if unit:
            step = " + r" if n == 0 and instruction.fields.get("wait0_step") else ""
            late = " (epilogue)" if n == 2 else ""
            found.append(f"{Unit(unit).name} >= {instruction.fields[f'wait{n}_count']}{step}{late}")
    return " wait " + ", ".join(found) if found else ""


def line(index: int, instruction: Instruction, layer: str) -> str:
    """`12  GEMM  blocks.0.fc1  rows=7 ... wait NORM >= 12 + r`, without the fields that are 0."""
    shown = []
    for field in INSTRUCTIONS[instruction.opcode]:
        value = instruction.fields.get(field.name, 0)
        if field.name in HIDDEN or field.name.startswith("wait"):
            continue
        if not value and field.name not in NAMED:
            continue
        if field.name in NAMED:
            value = NAMED[field.name](value).name
        elif field.name == "address":
            value = f"{value:#x}"
        shown.append(f"{field.name}={value}")
    start = f"{index:5}  {instruction.opcode.name:5} {layer:28} "
    return (start + " ".join(shown) + waits(instruction)).rstrip()


def listing(program) -> str:
    hw = program.hardware
    lines = [
        f"; {hw.name}: {hw.rows} x {hw.cols}, {len(program.instructions)} instructions, "
        f"{program.macs} MACs, {program.size} bytes of memory",
        "; counts in waits are absolute; r is the row of the instruction",
        ";",
        "; address    bytes     kind       region",
    ]
    lines += [
        f"; {r.address:#010x} {r.size:9} {r.kind:10} {r.name}" for r in program.regions.values()
    ]
    lines.append("")
    for index, (instruction, name) in enumerate(
        zip(program.instructions, program.names, strict=True)
    ):
        lines.append(line(index, instruction, name))
    return "\n".join(lines) + "\n"
