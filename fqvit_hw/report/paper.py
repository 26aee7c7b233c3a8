"""The paper's table: top-1 on the 50,000 validation images of ImageNet, in percent.

Source: FQ-ViT (arXiv 2111.13824), table of main results, as the README of its authors has it
(megvii-research/FQ-ViT).
"""

from ..paper_models import PAPER_MODELS

VALIDATION_IMAGES = 50_000
MODELS = {name: model.title for name, model in PAPER_MODELS.items()}
ROWS = (  # method, bits of weights / activations / attention maps, a figure for each of MODELS
    ("Full Precision", "32/32/32", (72.21, 79.85, 81.85, 84.53, 85.81, 81.35, 83.20, 83.60)),
    ("MinMax", "8/8/8", (70.94, 75.05, 78.02, 23.64, 3.37, 64.38, 74.37, 25.58)),
    ("EMA", "8/8/8", (71.17, 75.71, 78.82, 30.30, 3.53, 70.81, 75.05, 28.00)),
    ("Percentile", "8/8/8", (71.47, 76.57, 78.37, 46.69, 5.85, 78.78, 78.12, 40.93)),
    ("OMSE", "8/8/8", (71.30, 75.03, 79.57, 73.39, 11.32, 79.30, 78.96, 48.55)),
    ("FQ-ViT", "8/8/8", (71.61, 79.17, 81.20, 83.31, 85.03, 80.51, 82.71, 82.97)),
    ("FQ-ViT", "8/8/4", (71.07, 78.40, 80.85, 82.68, 84.89, 80.04, 82.47, 82.38)),
)
