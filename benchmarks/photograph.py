"""The integer Swin backbone on a real photograph of 427 x 640 pixels, stage by stage.

    python benchmarks/photograph.py [--model swin_tiny] [--config best]

The network is made for 224 x 224 and calibrated on crops of another photograph. Weights are
random: the table shows shapes, and that the integers follow the float backbone at a size with
padding in patches, windows and merging; it says nothing about accuracy.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.datasets import load_sample_image

from fqvit_hw import quantize
from fqvit_hw.commands.features import stage_noise, table
from fqvit_hw.config import PRESETS, load_config
from fqvit_hw.paper_models import timm_name
from fqvit_hw.timm_compat import import_timm


def photograph(name: str) -> np.ndarray:
    """uint8 (3, 427, 640)"""
    return np.ascontiguousarray(load_sample_image(name).transpose(2, 0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="swin_tiny")
    parser.add_argument("--config", nargs="+", default=list(PRESETS), metavar="NAME|FILE")
    args = parser.parse_args()
    timm = import_timm()
    import torch

    torch.manual_seed(0)
    model = timm.create_model(timm_name(args.model)).eval()
    flower, china = photograph("flower.jpg"), photograph("china.jpg")
    crops = [flower[:, y : y + 224, x : x + 224] for y in (0, 203) for x in (0, 208, 416)]
    for given in args.config:
        name, config = load_config(given)
        qm = quantize(model, np.stack(crops), config)
        maps = qm.features(china[None])
        print(f"{args.model}, {name}, china.jpg of scikit-learn, 427 x 640")
        print(table(maps, stage_noise(model, qm, china, maps)))


if __name__ == "__main__":
    main()
