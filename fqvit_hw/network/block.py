"""One transformer block, the same in ViT, DeiT and Swin."""

from __future__ import annotations

from dataclasses import dataclass

from ..units import Attention, Gelu, LayerNorm, Linear, Requantize, Residual
from ..units.params import scalar_in
from .checks import Stream, check_layer, check_norm, check_residual, expect, written_by
from .steps import BlockSteps


@dataclass(frozen=True, eq=False)
class Block:
    """One transformer block of C channels, H heads of D, and M hidden channels.

    norm1 int8 -> qkv: (3 * H * D, C), columns q | k | v, each head-major, int8 with zero 0
    -> attention, int8 -> proj: (C, H * D), int8 or int16 -> residual1, the stream
    norm2 int8 -> fc1: (M, C), int16 in steps of 2^(3 - index_width) -> gelu, int8
    -> fc2: (C, M), int8 or int16 -> residual2, the stream
    """

    heads: int
    norm1: LayerNorm
    qkv: Linear
    qkv_requantize: Requantize
    attention: Attention
    proj: Linear
    proj_requantize: Requantize
    residual1: Residual
    norm2: LayerNorm
    fc1: Linear
    fc1_requantize: Requantize
    gelu: Gelu
    fc2: Linear
    fc2_requantize: Requantize
    residual2: Residual

    @property
    def head_dim(self) -> int:
        """D: channels of q, k and v per head."""
        return self.qkv.weight.shape[0] // (3 * self.heads)

    def check(self, steps: BlockSteps, source: Stream) -> Stream:
        """Check the block on the stream `source`; returns the stream that it writes."""
        channels = source.channels
        scalar_in(self, "heads", 1, channels)
        check_norm(steps.norm1.name, self.norm1, source)
        qkv, proj, fc1, fc2 = (s.name for s in (steps.qkv, steps.proj, steps.fc1, steps.fc2))
        width = check_layer(qkv, self.qkv, self.qkv_requantize, channels, 8)
        expect(self.qkv_requantize.zero == 0, f"{qkv} needs zero point 0")
        expect(width % (3 * self.heads) == 0, f"{qkv}: {width} is not 3 x {self.heads} heads")
        add, branch = self.residual1, self.proj_requantize
        out = check_layer(proj, self.proj, branch, width // 3, add.y_width)
        expect(out == channels, f"{proj} has {out} outputs, the stream {channels}")
        check_residual(steps.residual1.name, add, source, branch)
        check_norm(steps.norm2.name, self.norm2, written_by(add))
        hidden = check_layer(fc1, self.fc1, self.fc1_requantize, channels, 16)
        expect(self.fc1_requantize.zero == 0, f"{fc1} needs zero point 0")
        branch = self.fc2_requantize
        out = check_layer(fc2, self.fc2, branch, hidden, self.residual2.y_width)
        expect(out == channels, f"{fc2} has {out} outputs, the stream {channels}")
        check_residual(steps.residual2.name, self.residual2, written_by(add), branch)
        return written_by(self.residual2)
