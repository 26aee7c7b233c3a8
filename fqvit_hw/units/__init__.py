"""The integer units: pure functions, integers in, integers out. They are the specification."""

from .attention import Attention, attention
from .gelu import Gelu, gelu
from .image import patches
from .layernorm import LayerNorm, layernorm
from .mac_array import Linear, bitshift_matmul, matmul
from .pool import Pool, pool, pool_sum
from .requantize import Requantize, requantize
from .residual import Residual, residual
from .softmax import Softmax, row_reciprocal, softmax, values

__all__ = [
    "Attention",
    "Gelu",
    "LayerNorm",
    "Linear",
    "Pool",
    "Requantize",
    "Residual",
    "Softmax",
    "attention",
    "bitshift_matmul",
    "gelu",
    "layernorm",
    "matmul",
    "patches",
    "pool",
    "pool_sum",
    "requantize",
    "residual",
    "row_reciprocal",
    "softmax",
    "values",
]
