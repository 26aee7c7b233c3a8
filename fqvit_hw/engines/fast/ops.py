"""The operations of the walk by the compiled kernels."""

from __future__ import annotations

import ctypes
import os

import numpy as np

from ...formats import ACC, GELU_INPUT, INT8, MAX_TOKENS, IntFormat
from ..numpy_ops import NumpyOps
from .library import EpilogueStruct, Library, TraceStruct

SMALL = 30_000
FINE, NO_MEMORY, SCORE_OVERFLOW, MASKED_ROW = range(4)


def cores() -> int:
    """OMP_NUM_THREADS, or the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


threads = cores()


def set_threads(n: int) -> None:
    """How many threads a kernel may use from now on, in this process."""
    global threads
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"threads: expected a positive integer, got {n!r}")
    threads = n


# The threads of OpenMP do not survive a fork, and a child that waits for them hangs.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: set_threads(1))


def address(array):
    return None if array is None else array.ctypes.data


def codes(x, fmt: IntFormat, channels: int | None, what: str) -> np.ndarray:
    """x as the kernels take it: C-contiguous, of fmt.dtype, with `channels` columns.

    Raises TypeError for another dtype, ValueError for another number of channels.
    """
    x = np.asarray(x)
    if x.dtype != fmt.dtype:
        raise TypeError(f"{what}: expected {fmt.dtype}, got {x.dtype}")
    if channels is not None and x.shape[-1:] != (channels,):
        raise ValueError(f"{what}: expected {channels} channels, got shape {x.shape}")
    return np.ascontiguousarray(x)


class FastOps(NumpyOps):
    """See NumpyOps for what each operation takes and gives.

    Codes are expected in the units' dtypes (TypeError); a patch cutter, gather or mean is numpy's.
    """

    def __init__(self, library: Library):
        self.library = library

    def call(self, name: str, work: int, *arguments) -> None:
        """One kernel; its last argument, the threads, is added here.

        work: about how many nanoseconds it takes; a little is not worth waking another thread.
        """
        pointers = (
            ctypes.addressof(a) if isinstance(a, ctypes.Structure) else a for a in arguments
        )
        failed = self.library.functions[name](*pointers, threads if work > SMALL else 1)
        if failed == NO_MEMORY:
            raise MemoryError(f"{name}: no memory for its buffers")
        if failed == SCORE_OVERFLOW:
            raise OverflowError(f"attention: score: accumulator and bias leave {ACC}")
        if failed == MASKED_ROW:
            raise ValueError("softmax: a row is masked everywhere")

    def embed(self, x, cls_token, pos_embed, p):
        B, N, C = x.shape
        y = np.empty((B, N + 1, C), x.dtype)
        y[:, 0], y[:, 1:] = cls_token, x
        return self.residual(np.broadcast_to(pos_embed, y.shape), y, p)

    def linear(self, x, layer, scaling, record=None):
        out, acc = self._linear(x, layer, scaling, traced=record is not None)
        if record:
            record("acc", acc)
        return out

    def linear_gelu(self, x, layer, scaling, p):
        if scaling.width != GELU_INPUT.width:
            raise ValueError(f"gelu: expected {GELU_INPUT} pre-activations, got {scaling.format}")
        return self._linear(x, layer, scaling, gelu=self.library.packed(p))[0]

    def linear_residual(self, x, layer, scaling, stream, p):
        stream = codes(stream, IntFormat(p.x_width), len(p.factor), "residual: x")
        if scaling.width != p.y_width or stream.shape != (*x.shape[:-1], len(layer.weight)):
            raise ValueError(
                f"residual: expected y of {p.y_width} bits and the shape of x, {stream.shape}"
            )
        return self._linear(x, layer, scaling, add=p, stream=stream)[0]

    def _linear(self, x, layer, scaling, *, traced=False, gelu=None, add=None, stream=None):
        """-> the codes, and the accumulators if they are traced."""
        outputs, inputs = layer.weight.shape
        x = codes(x, INT8, inputs, "matmul: operand")
        shape = (*x.shape[:-1], outputs)
        dtype = INT8.dtype if gelu is not None else IntFormat((add or scaling).width).dtype
        out, acc = np.empty(shape, dtype), np.empty(shape, np.int32) if traced else None
        epilogue = EpilogueStruct(
            address(out),
            address(acc),
            address(gelu),
            ctypes.addressof(self.library.packed(add)) if add else None,
            address(stream),
        )
        p, r = self.library.packed(layer), self.library.broadcast(scaling, outputs)
        work = x.size * outputs // 64
        self.call("linear", work, x.ctypes.data, x.size // inputs, p, r, epilogue)
        return out, acc

    def layernorm(self, x, p):
        channels = len(p.factor)
        x = codes(x, IntFormat(p.width), channels, "layernorm: input code")
        out = np.empty(x.shape, np.int8)
        rows, norm = x.size // channels, self.library.packed(p)
        self.call("layernorm", x.size, x.ctypes.data, rows, norm, out.ctypes.data)
        return out

    def gelu(self, x, p):
        x = codes(x, GELU_INPUT, None, "gelu: pre-activation")
        out = np.empty(x.shape, np.int8)
        table = self.library.packed(p)
        self.call("gelu", x.size, x.ctypes.data, x.size, table.ctypes.data, out.ctypes.data)
        return out

    def requantize(self, acc, p):
        """acc: int32 (..., channels) -> codes of p.width bits."""
        channels = p.multiplier.shape
        acc = codes(acc, ACC, channels[0] if channels else None, "requantize: accumulator")
        columns = channels[0] if channels else (acc.shape[-1] if acc.ndim else 1)
        out = np.empty(acc.shape, p.format.dtype)
        if acc.size:
            r, rows = self.library.broadcast(p, columns), acc.size // columns
            self.call("requantize", acc.size, acc.ctypes.data, rows, columns, r, out.ctypes.data)
        return out

    def residual(self, x, y, p):
        channels = len(p.factor)
        x = codes(x, IntFormat(p.x_width), channels, "residual: x")
        y = codes(y, IntFormat(p.y_width), channels, "residual: y")
        if x.shape != y.shape:
            raise ValueError(f"residual: shapes {x.shape} and {y.shape} differ")
        out = np.empty(x.shape, IntFormat(p.width).dtype)
        rows, add = x.size // channels, self.library.packed(p)
        pointers = x.ctypes.data, y.ctypes.data
        self.call("residual", x.size, *pointers, rows, add, out.ctypes.data)
        return out

    def attention(self, qkv, heads: int, p, bias=None, mask=None, record=None):
        qkv = codes(qkv, INT8, None, "attention: qkv")
        *lead, N, columns = qkv.shape
        D = columns // (3 * heads)
        if columns != 3 * heads * D or N > MAX_TOKENS:
            raise ValueError(f"attention: {columns} columns of {heads} heads, {N} tokens")
        images = int(np.prod(lead))
        masks = 1
        if bias is not None:
            bias = np.ascontiguousarray(np.broadcast_to(bias, (heads, N, N)), np.int32)
        if mask is not None:
            if mask.dtype != bool:
                raise TypeError(f"softmax: mask: expected bool, got {mask.dtype}")
            masks = len(mask)
            mask = np.ascontiguousarray(np.broadcast_to(mask, (lead[-1], N, N))).view(np.uint8)
        out = np.empty((*lead, N, heads * D), np.int8)
        parts = self.parts(p, (*lead, heads, N), D) if record else {}
        trace = TraceStruct(**{name: address(array) for name, array in parts.items()})
        self.call(
            "attention",
            images * heads * N * N * (D // 32 + 2),
            *(qkv.ctypes.data, images, N, heads, D, self.library.packed(p)),
            *(address(bias), address(mask), masks, out.ctypes.data, trace),
        )
        if record:
            self.show(parts, record)
            # (..., N, H * D) -> (..., H, N, D)
            record("context", np.moveaxis(out.reshape(*lead, N, heads, D), -2, -3))
        return out

    @staticmethod
    def parts(p, shape: tuple, D: int) -> dict[str, np.ndarray]:
        """Room for the tensors of a trace; shape: (..., H, N)."""
        N = shape[-1]
        parts = {
            "score_acc": np.empty((*shape, N), np.int32),
            "score": np.empty((*shape, N), np.int8),
            "softmax": np.empty((*shape, N), np.uint8),
            "context_acc": np.empty((*shape, D), np.int32),
        }
        if p.softmax.row_norm:
            parts["reciprocal"] = np.empty((*shape, 1), np.int32)
            parts["shift"] = np.empty((*shape, 1), np.int32)
            parts["normalized"] = np.empty((*shape, D), np.int32)
        return parts

    @staticmethod
    def show(parts: dict[str, np.ndarray], record) -> None:
        """The parts by the names and in the dtypes of units/attention.py."""
        record("score.acc", parts["score_acc"])
        record("score", parts["score"])
        record("softmax", parts["softmax"])
        record("context.acc", parts["context_acc"])
        if "reciprocal" in parts:
            record("row_reciprocal", parts["reciprocal"].astype(np.int64))
            record("row_shift", parts["shift"].astype(np.int64))
            record("context.normalized", parts["normalized"].astype(np.int64))
