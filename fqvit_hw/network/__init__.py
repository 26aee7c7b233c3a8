"""The integer network: the parameters of every unit, in the order in which data flows.

Plain frozen dataclasses of integers. Nothing here computes: `engines` run them, `network.file`
stores them, and each class checks on construction that its parts fit together. `steps` lists the
tensors between the units, in order.
"""

from .block import Block
from .swin import PatchMerging, SwinBlock, SwinTransformer
from .vit import VisionTransformer

__all__ = ["Block", "PatchMerging", "SwinBlock", "SwinTransformer", "VisionTransformer"]
