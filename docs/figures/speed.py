"""Figures of the engines and of calibration."""

from __future__ import annotations

from .text import MODELS, sentence, span, stored, table

OPERATIONS = {  # of the walk, as `make bench` calls them; what is in no other row is the rest
    "proj, fc2 with residual add (Swin: fc2)": "linear_residual",
    "fc1 with GELU": "linear_gelu",
    "attention": "attention",
    "other Linears (Swin: proj too)": "linear",
    "LayerNorm": "layernorm",
}
REST = "patches, embedding, windows, the walk"


def speed() -> str:
    found, more = stored("throughput"), stored("throughput_ranges")
    rows = []
    for name, r in found.items():
        rates = (f"{r['images_per_second'][n]:.1f}" for n in ("float32", "reference", "fast"))
        factors = (f"{r[n]:.2f} x" for n in ("vs_float32", "vs_reference"))
        rows.append((MODELS[name], *rates, *factors))
    rates = ("timm float32", "the paper's simulation", "integers")
    head = ("images/s", *rates, "integers against float32", "... against the simulation")
    setup = next(iter(found.values()))["setup"]
    about = sentence(
        f"Batch {setup['batch']}, {setup['threads']} threads on as many cores of an {setup['cpu']}",
        f"with {setup['kernels'].upper()}; the factors are medians over {setup['rounds']}",
        f"interleaved rounds. The five larger models are {span(more['vs_float32'])} times as fast",
        f"as float32 (ViT-Large {more['vit_large']['vs_float32']}) and",
        f"{span(more['vs_reference'])} times as fast as the simulation.",
    )
    return f"{table(head, rows)}\n\n{about}"


def shares() -> str:
    """Where the fast engine's time goes."""
    found, more = stored("throughput"), stored("throughput_ranges")
    rows = [
        (title, *(f"{r['shares'][name]:.1%}" for r in found.values()))
        for title, name in OPERATIONS.items()
    ]
    rest = (1 - sum(r["shares"][name] for name in OPERATIONS.values()) for r in found.values())
    rows.append((REST, *(f"{share:.1%}" for share in rest)))
    about = sentence(
        f"The Linears run at {span(more['linear_gmac_per_second'])} G MAC/s there; timm's float32",
        f"GEMM reaches about {more['float32_gmac_per_second']}.",
    )
    return f"{table(('share of time', *(MODELS[name] for name in found)), rows)}\n\n{about}"


def calibration_time() -> str:
    found = stored("calibration_time")
    each = ", ".join(f"{s} s for `{name}`" for name, s in found["seconds"].items())
    return sentence(f"Calibration of DeiT-Base on {found['images']} images takes {each}.")
