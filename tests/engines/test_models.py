"""The eight models of the paper at full size: every tensor of a trace, engine against engine.

Weights are random, for shapes and equality only; accuracy is measured elsewhere.
"""

import resource

import numpy as np
import pytest

from fqvit_hw import PRESETS, quantize
from fqvit_hw.engines import fast
from tests.engines.same import assert_same

pytest.importorskip("torch", reason="calibration needs torch")

MODELS = [
    "deit_tiny_patch16_224",
    "deit_small_patch16_224",
    "deit_base_patch16_224",
    "vit_base_patch16_224",
    "vit_large_patch16_224",
    "swin_tiny_patch4_window7_224",
    "swin_small_patch4_window7_224",
    "swin_base_patch4_window7_224",
]
GIB = 6  # the limit for ViT-Large, calibration and the numpy trace included


CASES = [(name, "best") for name in MODELS]
SMALLEST = (MODELS[0], MODELS[5])
CASES += [(name, config) for name in SMALLEST for config in ("paper-884", "paper-888")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "config"), CASES)
def test_whole_trace_equals_the_specification(name, config):
    from fqvit_hw.timm_compat import import_timm

    timm = import_timm()
    import torch

    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 224, 224)).astype(np.uint8)
    qm = quantize(model, images, PRESETS[config])
    del model
    assert fast.available() is None
    assert_same(qm, images[:1], engine="fast")
    assert_same(qm, images[:1], engine="torch")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # of the largest so far
    print(f"{name}, {config}: peak memory of this process {peak:.1f} GiB")
    assert peak < GIB
