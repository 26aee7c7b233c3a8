"""What the authors of FQ-ViT compute: quantization simulated in float, the column "paper".

    reference = build_reference(model, calibration, config, mean=mean, std=std)
    logits = reference.run(images)  # uint8 (B, C, H, W) -> float32 (B, classes)

Own code, after arXiv 2111.13824 and the facts of github.com/megvii-research/FQ-ViT; what their code
does wrong is corrected unless `ReferenceConfig.defects` asks for it. See docs/reference.md. Needs
torch and timm; the integer machine never imports it.
"""

from .config import AUTHORS_DEFECTS, Defects, ReferenceConfig
from .simulation import Reference, build_reference

__all__ = ["AUTHORS_DEFECTS", "Defects", "Reference", "ReferenceConfig", "build_reference"]
