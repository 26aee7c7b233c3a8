"""What stays on chip: the placement of a ViT's tensors, chosen by the bytes it costs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ..errors import UserError
from ..machine.hardware import HARDWARE, PARAM_BYTES, Hardware

MAX_GROUP_TILES = 255  # a field of the instruction
SCRATCH_WORDS = 4  # of acts, at its end: where a LOAD that only waits may write, a beat at least
MAX_OUTER = 4095  # a field, too: column tiles of a GEMM
MAX_BLOCKS = 256


def ceil(a: int, b: int) -> int:
    return -(-a // b)


def blocks(n: int, size: int) -> list[tuple[int, int]]:
    """0..n cut into as few parts of at most `size` as possible, nearly equal ones."""
    parts = ceil(n, size)
    ends = [n * i // parts for i in range(parts + 1)]
    return list(pairwise(ends))


@dataclass(frozen=True)
class Shape:
    """The sizes of a ViT. patch_bytes: channels * patch^2."""

    tokens: int
    channels: int
    heads: int
    head_dim: int
    hidden: int
    classes: int
    depth: int
    patch_bytes: int
    strips: int  # rows of patches
    strip: int  # patches of a row

    @classmethod
    def of(cls, network) -> Shape:
        if not network.blocks:
            raise UserError("compile: a network without blocks has no attention to run")
        block = network.blocks[0]
        for other in network.blocks:
            same = (other.heads, other.head_dim, len(other.fc1.weight))
            if same != (block.heads, block.head_dim, len(block.fc1.weight)):
                raise UserError("compile: all blocks must have the same heads and hidden channels")
        return cls(
            tokens=network.tokens,
            channels=len(network.norm.factor),
            heads=block.heads,
            head_dim=block.head_dim,
            hidden=len(block.fc1.weight),
            classes=len(network.head.weight),
            depth=len(network.blocks),
            patch_bytes=network.channels * network.patch**2,
            strips=network.height // network.patch,
            strip=network.width // network.patch,
        )

    @property
    def macs(self) -> int:
        """The network's own multiplications and shifts."""
        N, C, HD = self.tokens, self.channels, self.heads * self.head_dim
        block = N * C * 3 * HD + 2 * N * N * HD + N * HD * C + 2 * N * C * self.hidden
        patches = (N - 1) * self.patch_bytes * C
        return patches + self.depth * block + C * self.classes


@dataclass(frozen=True)
class Sizes:
    """Words of a row of each tensor on one machine: what memory and the array's groups of K tiles
    take, so that nobody ever reads or writes a part of another row."""

    normed: int  # LayerNorm output
    stream: int
    stream_tiles: int  # words of them with channels
    head: int  # of q, and of one head's context
    context: int
    hidden: int
    patch: int
    codes: int
    key_tiles: int
    value_tiles: int
    key_stride: int
    value_stride: int

    @classmethod
    def of(cls, s: Shape, hw: Hardware) -> Sizes:
        R, C = hw.rows, hw.cols
        head = whole_beats(ceil(s.head_dim, R), R, hw)
        tiles = ceil(s.channels, C)
        return cls(
            normed=whole_groups(ceil(s.channels, R), hw, True),
            stream=whole_beats(tiles, hw.stream_bytes, hw),
            stream_tiles=tiles,
            head=head,
            context=whole_groups(head * s.heads, hw, True),
            hidden=whole_groups(ceil(s.hidden, R), hw),
            patch=whole_groups(ceil(s.patch_bytes, R), hw),
            codes=ceil(s.tokens, R),
            key_tiles=ceil(s.tokens, C) * ceil(s.head_dim, R),
            value_tiles=ceil(s.tokens, R) * ceil(s.head_dim, C),
            key_stride=ceil(s.head_dim, R),
            value_stride=ceil(s.head_dim, C),
        )


def k_groups(k_tiles: int, hw: Hardware) -> tuple[int, int]:
    """K tiles -> (groups, tiles of each): equal groups that fill at most half of the ring."""
    limit = min(max(hw.ring // 2, 1), MAX_GROUP_TILES)
    least = ceil(k_tiles, limit)
    groups = next((g for g in range(least, 2 * least + 1) if k_tiles % g == 0), least)
    return groups, ceil(k_tiles, groups)


def whole_beats(words: int, word: int, hw: Hardware) -> int:
    """As many or a few more words of `word` bytes, a row of which fills beats of the bus."""
    beat = max(1, hw.bus_bytes // word)
    return ceil(words, beat) * beat


def whole_groups(words: int, hw: Hardware, spilled: bool = False) -> int:
    """As many or a few more words of acts, of which all groups of K tiles take as many; if they
    may be spilled, whole beats, too."""
    while True:
        padded = whole_beats(words, hw.rows, hw) if spilled else words
        groups, tiles = k_groups(padded, hw)
        padded = groups * tiles
        if padded == words:
            return words
        words = padded


@dataclass(frozen=True)
class Plan:
    """Which tensors stay on chip for all tokens, and how many tokens each phase takes at once.

    outer: tokens of proj .. fc2; inner: of fc1, fc2 inside; attention: of k, v (and q);
    queries: of q, scores, codes, context; strips: rows of
    patches of the patch embedding. acts: normed | second, in words; spilled: bytes moved.
    """

    stream_resident: bool
    normed_resident: bool
    context_resident: bool
    outer: int
    inner: int
    attention: int
    queries: int
    strips: int
    normed_words: int
    spilled: int


def scratch_words(hw: Hardware) -> int:
    return max(SCRATCH_WORDS, hw.bus_bytes // hw.rows)


def weight_bytes(outputs: int, k_words: int, hw: Hardware) -> int:
    groups, tiles = k_groups(k_words, hw)
    return ceil(outputs, hw.cols) * (PARAM_BYTES * hw.cols + groups * tiles * hw.tile_bytes)


def refused(s: Shape, hw: Hardware) -> str | None:
    """Which of the machine's sizes this network exceeds, or None."""
    w = Sizes.of(s, hw)
    slack = w.normed + scratch_words(hw)
    strip = min(s.strip + 1, s.tokens)
    checks = (
        (f"{s.tokens} tokens", "max_tokens", s.tokens),
        (f"{s.channels} channels", "max_channels", s.channels),
        ("weights and the keys and values of a head", "tiles",
         hw.ring + w.key_tiles + w.value_tiles),
        ("the codes of a token", "codes", w.codes),
        ("a row of patches in the stream", "stream", strip * w.stream),
        ("the MLP of a token", "acts", w.hidden + w.normed + slack),
        ("a row of patches", "acts", s.strip * (w.patch + w.normed) + slack),
        ("partial sums of a token's K groups", "sums", s.tokens if too_deep(w, hw) else 1),
    )  # fmt: skip
    for what, name, need in checks:
        if need > getattr(hw, name):
            return (
                f"{what}: {hw.name} has {name}={getattr(hw, name)}, this network needs {need} "
                "(fqvit_hw.machine.hardware.Hardware)"
            )
    if best_plan(s, hw) is None:
        return f"{s.tokens} tokens of {s.channels} channels: no tiling fits acts={hw.acts}"
    return None


def too_deep(w: Sizes, hw: Hardware) -> bool:
    return any(k_groups(n, hw)[0] > 1 for n in (w.normed, w.context, w.hidden, w.patch))


def plan(s: Shape, hw: Hardware) -> Plan:
    """The plan of fewest bytes. Raises ValueError naming the first thing that does not fit."""
    why = refused(s, hw)
    if why:
        fits = [o.name for o in HARDWARE.values() if o.name != hw.name and not refused(s, o)]
        would = f"it fits {', '.join(fits)}" if fits else "no named configuration holds it"
        raise UserError(f"compile: {why}; {would}")
    return best_plan(s, hw)


def best_plan(s: Shape, hw: Hardware) -> Plan | None:
    """The plan of fewest bytes with as many queries at once as any plan has."""
    most = hw.codes // Sizes.of(s, hw).codes
    for queries in sorted({ceil(s.tokens, n) for n in range(1, s.tokens + 1)}, reverse=True):
        found = queries <= most and tilings(s, hw, queries)
        if found:
            return found
    return None


def tilings(s: Shape, hw: Hardware, queries: int) -> Plan | None:
    w, N = Sizes.of(s, hw), s.tokens
    acts = hw.acts - w.normed - scratch_words(hw)  # the final LayerNorm, waits
    row = {  # bytes
        "normed": w.normed * hw.rows,
        "context": w.context * hw.rows,
        "stream": w.stream * hw.stream_bytes,
    }
    qkv = 3 * s.heads * weight_bytes(s.head_dim, w.normed, hw)
    proj = weight_bytes(s.channels, w.context, hw)
    mlp = weight_bytes(s.hidden, w.normed, hw) + weight_bytes(s.channels, w.hidden, hw)
    embed = weight_bytes(s.channels, w.patch, hw)
    sizes = sorted({ceil(N, n) for n in range(1, min(N, MAX_BLOCKS) + 1)}, reverse=True)
    best = None
    for code in range(8):
        stream_in, normed_in, context_in = (not code & bit for bit in (4, 2, 1))
        if stream_in and N * w.stream > hw.stream:
            continue
        # all tokens' context beside q, and as much of normed as attention needs
        held = (N * w.context if context_in else queries * w.head) + queries * w.head
        for outer in sizes:
            if not stream_in and outer * w.stream > hw.stream:
                continue
            normed = N * w.normed if normed_in else outer * w.normed
            second = acts - normed
            attention = N if normed_in else min(N, (acts - held) // w.normed)
            if context_in and not normed_in:  # the context stays where it is: one border for all
                attention = min(attention, outer)
            least = 1 if queries == N else queries
            if attention < least or ((normed_in or context_in) and held > second):
                continue
            here = N * w.context if context_in and outer < N else 0  # must stay during the MLP
            if not context_in and outer * w.context > second:
                continue
            inner = min(outer, (second - here) // w.hidden)
            if inner < 1:
                continue
            rows = min(second // w.patch, outer * (1 if not normed_in else N))
            if not normed_in:
                rows = min(rows, normed // w.normed - 1)
            if not stream_in:
                rows = min(rows, hw.stream // w.stream - 1)
            strips = min(s.strips, rows // s.strip)
            if strips < 1:
                continue
            fetches = 1 if attention == N else s.heads * (1 if queries == N else 2)
            parts = len(blocks(N, outer))
            inners = sum(len(blocks(b - a, inner)) for a, b in blocks(N, outer))
            spilled = (
                s.depth
                * (
                    (parts - 1) * proj
                    + (inners - 1) * mlp
                    + (0 if stream_in else 2 * N * row["stream"])
                    + (0 if context_in else 2 * N * row["context"])
                    + (0 if normed_in else (1 + fetches) * N * row["normed"])
                    + (len(blocks(N, attention)) - 1) * qkv
                    + (len(blocks(N, queries)) - 1) * qkv // 3
                )
                + (len(blocks(s.strips, strips)) - 1) * embed
            )
            key = (spilled, parts + inners)
            if best is None or key < best[0]:
                best = key, Plan(
                    stream_in, normed_in, context_in, outer, inner, attention, queries, strips,
                    normed, spilled,
                )  # fmt: skip
    return best and best[1]
