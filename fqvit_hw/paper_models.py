"""The eight models of the paper: what they are called, and how large they are.

The one table of them: timm's names, the sizes that sweeps and schedules are made from, the titles
of tables. It imports neither torch nor timm; tests/zoo holds its sizes against timm's own models.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Family(Enum):
    VIT = "vit"  # ViT and DeiT: compiled, and run by the machine
    SWIN = "swin"  # has a schedule for the cycle model only


@dataclass(frozen=True)
class VitSize:
    """A ViT or DeiT. image, patch: sides in pixels; colors: channels of the image; channels: of a
    token; hidden: of the MLP; depth: blocks."""

    image: int = 224
    patch: int = 16
    colors: int = 3
    channels: int = 192
    depth: int = 12
    heads: int = 3
    hidden: int = 768
    classes: int = 1000

    family = Family.VIT


@dataclass(frozen=True)
class SwinSize:
    """A Swin Transformer. channels: of the first stage; each next one has twice as many and a
    quarter of the tokens; depths: blocks of each stage; window: side of one, in tokens."""

    channels: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    head_dim: int = 32
    image: int = 224
    patch: int = 4
    classes: int = 1000
    colors: int = 3
    window: int = 7

    family = Family.SWIN

    @property
    def stages(self) -> list[tuple[int, int]]:
        """(side in tokens, channels) of each."""
        side = self.image // self.patch
        return [(side >> i, self.channels << i) for i in range(len(self.depths))]

    @property
    def macs(self) -> int:
        """The network's own multiplications and shifts."""
        side, C = self.stages[0]
        total = side**2 * self.colors * self.patch**2 * C
        for i, (side, C) in enumerate(self.stages):
            N = side**2
            total += self.depths[i] * (N * 12 * C * C + 2 * N * self.window**2 * C)
            if i:
                total += N * 2 * C * C  # 4 C/2 -> C
        return total + C * self.classes


@dataclass(frozen=True)
class PaperModel:
    """name: ours, short; timm: with the tag of the weights that the paper measured; title: the
    paper's own name."""

    name: str
    title: str
    timm: str
    size: VitSize | SwinSize

    @property
    def family(self) -> Family:
        return self.size.family


# timm's default weights are others for ViT-B (augreg2), Swin-S and Swin-B (pretrained on
# ImageNet-22k).
PAPER_MODELS = {
    model.name: model
    for model in (
        PaperModel("deit_tiny", "DeiT-T", "deit_tiny_patch16_224.fb_in1k", VitSize()),
        PaperModel("deit_small", "DeiT-S", "deit_small_patch16_224.fb_in1k",
                   VitSize(channels=384, heads=6, hidden=1536)),
        PaperModel("deit_base", "DeiT-B", "deit_base_patch16_224.fb_in1k",
                   VitSize(channels=768, heads=12, hidden=3072)),
        PaperModel("vit_base", "ViT-B", "vit_base_patch16_224.augreg_in21k_ft_in1k",
                   VitSize(channels=768, heads=12, hidden=3072)),
        PaperModel("vit_large", "ViT-L", "vit_large_patch16_224.augreg_in21k_ft_in1k",
                   VitSize(channels=1024, heads=16, hidden=4096, depth=24)),
        PaperModel("swin_tiny", "Swin-T", "swin_tiny_patch4_window7_224.ms_in1k", SwinSize()),
        PaperModel("swin_small", "Swin-S", "swin_small_patch4_window7_224.ms_in1k",
                   SwinSize(depths=(2, 2, 18, 2))),
        PaperModel("swin_base", "Swin-B", "swin_base_patch4_window7_224.ms_in1k",
                   SwinSize(channels=128, depths=(2, 2, 18, 2))),
    )
}  # fmt: skip


def of_family(family: Family) -> dict[str, PaperModel]:
    return {name: model for name, model in PAPER_MODELS.items() if model.family is family}


def timm_name(name: str) -> str:
    """deit_tiny, deit_tiny_patch16_224 -> deit_tiny_patch16_224.fb_in1k; other names stay."""
    for model in PAPER_MODELS.values():
        if name in (model.name, model.timm.split(".")[0]):
            return model.timm
    return name


def short_name(name: str) -> str:
    """The inverse, for reports: a model of the paper by its short name, others as they are."""
    full = timm_name(name)
    return next((model.name for model in PAPER_MODELS.values() if model.timm == full), name)
