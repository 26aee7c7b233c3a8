"""What attention codes stand for, as operands of the array and as terms of a row's sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amaranth.hdl import Const, Module, Signal, Value

from fqvit_hw.attention_codes import LIS4, MODES, AttentionCodes

MODE_BITS = (len(MODES) - 1).bit_length()


def is_mode(mode: Value, codes: AttentionCodes) -> Value:
    """Does a `mode`, MODE_BITS wide, name this one?"""
    return mode == list(MODES.values()).index(codes)


def by_mode(
    m: Module, mode: Value, values: Mapping[AttentionCodes, int], width: int, name: str
) -> Signal:
    """A number that depends on the mode. values: of every mode that is built."""
    first, *others = values
    number = Signal(width, name=name)
    m.d.comb += number.eq(values[first])
    for codes in others:
        with m.If(is_mode(mode, codes)):
            m.d.comb += number.eq(values[codes])
    return number


def value_bits(modes: Sequence[AttentionCodes]) -> int:
    return max(codes.value_bits for codes in modes)


def value_of(
    m: Module, code: Value, mode: Value, modes: Sequence[AttentionCodes], name: str
) -> Value:
    """The value of a code, unsigned, `value_bits(modes)` wide, in the mode that `mode` names."""
    found = value_in(m, code, modes[0], name)
    if len(modes) == 1:
        return found
    value = Signal(value_bits(modes), name=f"{name}_value")
    m.d.comb += value.eq(found)
    for codes in modes[1:]:
        with m.If(is_mode(mode, codes)):
            m.d.comb += value.eq(value_in(m, code, codes, name))
    return value


def value_in(m: Module, code: Value, codes: AttentionCodes, name: str) -> Value:
    """The value of a code in one mode."""
    code = code[: codes.bits]
    if codes is LIS4:  # 2^14 >> 15 is 0, as code 15 wants it
        return Const(codes.values[0]) >> code
    if codes.values == tuple(range(1 << codes.bits)):
        return code
    if codes.values == tuple(reversed(range(1 << codes.bits))):
        return ~code
    value = Signal(codes.value_bits, name=f"{name}_{codes.name}")
    with m.Switch(code):
        for n, of_code in enumerate(codes.values):
            with m.Case(n):
                m.d.comb += value.eq(of_code)
    return value
