"""How long calibration takes, and the memory of the process: one model, each configuration.

    python benchmarks/calibration.py [--model deit_base] [--images 100] [--config best ...]

Weights and images are random: neither time nor memory depends on them.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from fqvit_hw import quantize
from fqvit_hw.calibrate import preprocessing
from fqvit_hw.config import PRESETS, load_config
from fqvit_hw.paper_models import timm_name
from fqvit_hw.timm_compat import import_timm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="deit_base")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--config", nargs="+", default=list(PRESETS), metavar="NAME|FILE")
    args = parser.parse_args()
    timm = import_timm()
    model = timm.create_model(timm_name(args.model)).eval()
    height, width = model.patch_embed.img_size
    shape = (args.images, model.patch_embed.proj.in_channels, height, width)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    mean, std = preprocessing(model, None, None)
    for given in args.config:
        name, config = load_config(given)
        start = time.perf_counter()
        quantize(model, images, config, mean=mean, std=std)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{args.model}, {args.images} images, {name}: {seconds:.0f} s, "
            f"peak memory so far {peak:.1f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
