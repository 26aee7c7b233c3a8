"""Import timm beside a CPU-only torch.

PyPI's torchvision, which timm imports, is built for CUDA torch. Beside a CPU torch its library does
not load, and `import torchvision` fails because two operators were never declared. Declaring them
is enough: timm's vision transformers never call them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path

from .errors import MissingError

SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def library_loads() -> bool:
    """Whether torchvision's own operators load beside this torch (loading twice is harmless)."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # nothing to repair: the import will say that torchvision is missing
    libraries = sorted(Path(spec.origin).parent.glob("_C*"))
    try:
        for library in libraries:
            ctypes.CDLL(str(library))
    except OSError:
        return False
    return bool(libraries)


def import_timm():
    """Returns the module timm. Raises ImportError with the extra to install if it is missing."""
    try:
        import torch

        if "torchvision" not in sys.modules and not library_loads():
            for operator in ("nms", "qnms"):
                torch.library.define(f"torchvision::{operator}", SIGNATURE)
        import timm
    except ModuleNotFoundError as error:
        raise MissingError(
            f"calibration needs torch and timm (no module {error.name!r}): "
            "pip install 'fqvit-hw[model]'"
        ) from error
    return timm
