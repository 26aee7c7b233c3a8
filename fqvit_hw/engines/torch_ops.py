"""The same integers on any torch device: what `--device cuda` runs.

Codes keep their integer dtypes, arithmetic is int64, and nothing wraps because every width is
proven (docs/datapath.md). A float appears in two places only, where it is exact: matrix products
whose partial sums all stay below 2^24 (float32) or 2^53 (float64), and a square root of an integer
below 2^36 in float64, which rounds correctly. CUDA has no integer matrix product for all shapes.
"""

from __future__ import annotations

import functools
import weakref

import numpy as np
import torch

from ..attention_codes import LIS4, UNIFORM8, AttentionCodes
from ..errors import UserError
from ..formats import (
    BETA_FRACTION,
    BITSHIFT_FRACTION,
    INT8,
    MAX_TOKENS,
    NORM_FRACTION,
    RECIPROCAL_BITS,
    RECIPROCAL_FRACTION,
    ROOT_BITS,
    UINT8,
    ZERO_CODE,
    IntFormat,
)
from ..units import windows
from ..units.mac_array import worst_accumulator

DTYPES = {8: torch.int8, 16: torch.int16, 32: torch.int32}
FLOAT32_EXACT = 1 << 24  # every integer up to here is a float32


def rshift_round(x, n):
    """x / 2^n rounded half up; x: int64, n: int or int64 tensor >= 0."""
    n = torch.as_tensor(n, device=x.device)
    return (x + ((1 << n) >> 1)) >> n


def exactly(operation):
    """Without gradients, and without the shortcuts (TF32, bfloat16) that torch may be told to take.

    They would round the products of float32; the caller's setting is restored.
    """

    @functools.wraps(operation)
    def run(*args, **kwargs):
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            with torch.inference_mode():
                return operation(*args, **kwargs)
        finally:
            torch.set_float32_matmul_precision(before)

    return run


def exact_matmul(a, b, largest: int):
    """a @ b of integers whose partial sums stay within `largest` < 2^53 -> int64."""
    if largest < FLOAT32_EXACT:
        return (a.float() @ b.float()).long()
    return (a.double() @ b.double()).long()


class TorchOps:
    """See NumpyOps for what each operation takes and gives; here they are torch tensors.

    Raises ValueError for a device that is not there.
    """

    def __init__(self, device: str):
        try:
            self.device = torch.device(device)
            torch.zeros(1, device=self.device).cpu()
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"device {device!r} is not available here: {reason}") from error
        self._values: dict[AttentionCodes, torch.Tensor] = {}
        self._moved = weakref.WeakKeyDictionary()  # parameters of a unit -> on the device

    # --- parameters

    def moved(self, p):
        """The arrays of the parameter dataclass p as int64 tensors on the device, made once."""
        if p not in self._moved:
            arrays = {n: v for n, v in vars(p).items() if isinstance(v, np.ndarray)}
            self._moved[p] = {n: self.array(v).long() for n, v in arrays.items()}
        return self._moved[p]

    def weights(self, layer):
        """A Linear as (in, out) weights of a float that is exact for it, and int64 bias."""
        if layer not in self._moved:
            largest = int(worst_accumulator(layer.weight, 0, -INT8.min).max(initial=0))
            dtype = torch.float32 if largest < FLOAT32_EXACT else torch.float64
            weight = self.array(layer.weight).to(dtype).T.contiguous()
            self._moved[layer] = weight, self.array(layer.bias).long()
        return self._moved[layer]

    def values(self, mode: AttentionCodes):
        """What the codes of an attention mode stand for, int64 on the device."""
        if mode not in self._values:
            self._values[mode] = torch.tensor(mode.values, device=self.device)
        return self._values[mode]

    def array(self, array: np.ndarray):
        return torch.tensor(array, device=self.device)

    def numpy(self, tensor) -> np.ndarray:
        return tensor.cpu().numpy()

    # --- operations

    @exactly
    def patches(self, images, patch: int, pad=None):
        codes = (images.short() + INT8.min).to(torch.int8)
        B, C, H, W = codes.shape
        bottom, right = -H % patch, -W % patch
        if bottom or right:
            pad = self.array(pad)  # pyright: ignore[reportArgumentType]  # of a Swin, the only one padded
            whole = pad.reshape(1, C, 1, 1).repeat(B, 1, H + bottom, W + right)
            whole[:, :, :H, :W] = codes
            codes, H, W = whole, H + bottom, W + right
        grid = codes.reshape(B, C, H // patch, patch, W // patch, patch)
        # (B, C, h, y, w, x) -> (B, h, w, C, y, x) -> (B, N, K)
        grid = grid.permute(0, 2, 4, 1, 3, 5)
        return grid.reshape(B, H * W // patch**2, C * patch * patch)

    @exactly
    def embed(self, x, cls_token, pos_embed, p):
        cls_token = self.array(cls_token).to(x.dtype).expand(len(x), 1, -1)
        x = torch.cat([cls_token, x], dim=1)  # (B, N - 1, C) -> (B, N, C)
        return self.residual(self.array(pos_embed).expand(x.shape), x, p)

    @exactly
    def take(self, x, index, fill: int | None):
        index = self.array(index).long()
        gathered = x[:, index]
        if fill is not None:
            gathered[:, index == windows.PAD] = fill
        return gathered

    @exactly
    def linear(self, x, layer, scaling, record=None):
        weight, bias = self.weights(layer)
        acc = (x.to(weight.dtype) @ weight).long() + bias
        if record:
            record("acc", acc.int())
        return self.requantize(acc, scaling)

    def linear_gelu(self, x, layer, scaling, p):
        return self.gelu(self.linear(x, layer, scaling), p)

    def linear_residual(self, x, layer, scaling, stream, p):
        return self.residual(stream, self.linear(x, layer, scaling), p)

    @exactly
    def requantize(self, acc, p):
        """acc: int64 (..., channels) within int32 -> codes of p.width bits."""
        at = self.moved(p)
        y = rshift_round(acc * at["multiplier"], at["shift"]) + p.zero
        return saturate(y, p.format)

    @exactly
    def layernorm(self, x, p):
        at = self.moved(p)
        X = (x.long() - p.zero) << at["factor"]
        total = X.sum(-1, keepdim=True)
        channels = X.shape[-1]
        V = channels * (X * X).sum(-1, keepdim=True) - total * total + p.eps
        R, e = reciprocal_root(V)
        shift = torch.where(V > 0, RECIPROCAL_BITS - NORM_FRACTION + e, 0)
        T = rshift_round((channels * X - total) * R, shift)
        g = p.gamma_shift
        beta = at["beta"] << (g + NORM_FRACTION - BETA_FRACTION)
        y = rshift_round(T * at["gamma"] + beta, g + NORM_FRACTION) + p.zero_out
        return saturate(y, INT8)

    @exactly
    def gelu(self, x, p):
        half = 1 << (p.index_width - 1)
        x = x.long()
        looked_up = self.moved(p)["table"][(x + half).clamp(0, 2 * half - 1)].to(torch.int8)
        y = torch.where(x >= half, self.requantize(x, p.linear), looked_up)
        return torch.where(x < -half, p.linear.zero, y).to(torch.int8)

    @exactly
    def residual(self, x, y, p):
        at = self.moved(p)
        X = (x.long() - p.x_zero) << at["x_factor"]
        total = X * p.x_multiplier + (y.long() - p.y_zero) * p.y_multiplier
        return saturate(rshift_round(total, p.shift + at["factor"]) + p.zero, IntFormat(p.width))

    @exactly
    def attention(self, qkv, heads: int, p, bias=None, mask=None, record=None):
        *lead, N, columns = qkv.shape
        split = qkv.reshape(*lead, N, 3, heads, columns // (3 * heads))
        # (..., N, 3, H, D) -> (3, ..., H, N, D)
        q, k, v = split.movedim(-3, 0).movedim(-2, -3)
        seen = record or (lambda part, tensor: None)
        largest = INT8.min**2 * q.shape[-1]
        acc = exact_matmul(q, k.transpose(-1, -2), largest)
        if bias is not None:
            acc = acc + self.array(bias)
        seen("score.acc", acc.int())
        scores = self.requantize(acc, p.score)
        seen("score", scores)
        keep = None if mask is None else ~self.array(mask)[:, None]  # (W, 1, N, N)
        codes = self.softmax(scores, p.softmax, keep)
        seen("softmax", codes)
        mode = p.softmax.codes
        weight = self.values(mode)[codes.long()]
        acc = exact_matmul(weight, v, -INT8.min * largest_row(mode, N))
        seen("context.acc", acc.int())
        if p.softmax.row_norm:
            W = weight.sum(-1, keepdim=True)
            L = bit_length(W) if mode.of_maximum else torch.full_like(W, BITSHIFT_FRACTION)
            reciprocal = (1 << L + RECIPROCAL_FRACTION) // W
            seen("row_reciprocal", reciprocal)
            seen("row_shift", L + 1)
            acc = rshift_round(acc * reciprocal, L + 1)
            seen("context.normalized", acc)
        context = self.requantize(acc, p.context)
        seen("context", context)
        # (..., H, N, D) -> (..., N, H, D) -> (..., N, H * D)
        return context.transpose(-3, -2).reshape(*lead, N, columns // 3)

    def softmax(self, x, p, keep):
        """x: int8 scores (..., N); keep: bool, False where masked -> uint8 codes."""
        if x.shape[-1] > MAX_TOKENS:
            raise ValueError(f"softmax: at most {MAX_TOKENS} tokens are proven, got {x.shape[-1]}")
        x, mode = x.long(), p.codes
        masked = mode.zero_code if mode.of_maximum else 0
        if keep is None:
            highest = x.amax(-1, keepdim=True)
            e = self.moved(p)["table"][highest - x]
        else:
            if not keep.any(-1).all():
                raise ValueError("softmax: a row is masked everywhere")
            highest = torch.where(keep, x, INT8.min).amax(-1, keepdim=True)
            e = torch.where(keep, self.moved(p)["table"][(highest - x).clamp(min=0)], masked)
        if mode.of_maximum:
            return e.to(torch.uint8)
        S = e.sum(-1, keepdim=True)
        if p.mode == "uniform8":
            return ((510 * e + S) // (2 * S)).to(torch.uint8)
        code = (3 * e <= 2 * S).to(torch.uint8)
        code += 2 * S + e > 6 * e  # c = 1, strict
        for c in range(2, ZERO_CODE):
            code += 2 * S + e >= (3 * e) << c
        return code

    @exactly
    def pool(self, x, p, record=None):
        if x.shape[-2] != p.tokens:
            raise ValueError(f"pool: expected {p.tokens} tokens, got shape {tuple(x.shape)}")
        acc = x.long().sum(-2) - p.tokens * p.zero
        if record:
            record("acc", acc.int())
        return self.requantize(acc, p.requantize)


def largest_row(mode: AttentionCodes, tokens: int) -> int:
    """The largest sum of values of a row of so many tokens."""
    if mode is LIS4:
        return 3 << (BITSHIFT_FRACTION - 1)  # W < 1.5
    # a row of uniform8 sums to 255 and at most half a step of rounding for each token
    return UINT8.max + tokens if mode is UNIFORM8 else max(mode.values) * tokens


def saturate(x, fmt: IntFormat):
    return x.clamp(fmt.min, fmt.max).to(DTYPES[fmt.width])


def reciprocal_root(V):
    """V: int64 >= 0 -> (R, e) with 1 / sqrt(V) = R * 2^-(33 + e); R is not used for V = 0."""
    e = (bit_length(V) + 1) // 2 - ROOT_BITS
    normalized = torch.where(e < 0, V << (-2 * e).clamp(min=0), V >> (2 * e).clamp(min=0))
    # below 2^36: float64 holds it, rounds its root correctly, and the root of k^2 - 1 is more
    # than an ulp below k; so the floor is that of the real root
    root = normalized.double().sqrt().long()
    return (1 << RECIPROCAL_BITS) // root.clamp(min=1), e


def bit_length(x):
    """Elementwise bit length of a non-negative int64 tensor (0 for 0)."""
    n = torch.zeros_like(x)
    for step in (32, 16, 8, 4, 2, 1):
        big = x >= (1 << step)
        n += torch.where(big, step, 0)
        x = torch.where(big, x >> step, x)
    return n + x
