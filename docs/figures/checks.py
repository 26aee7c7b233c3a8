"""Figures of verification, and the table of the stored results themselves."""

from __future__ import annotations

import json
import re

from .text import ROOT, sentence, stored, table


def benches() -> str:
    from fqvit_hw.sim.blocks.runner import BLOCKS, configurations

    found = stored("sim")
    count = sum(len(configurations(block, "full")) for block in BLOCKS)
    date = stored("about")["sim"]["date"]
    return sentence(
        f"`make sim` runs {count} benches (a block in one configuration each) in Icarus Verilog:",
        "golden cases and generated sizes, each steady, with random stalls and with a reset in",
        f"mid-row. When it last ran as a whole, on {date}, {found['benches']} benches compared",
        f"{found['beats']:,} output beats bit for bit, over {found['cycles'] / 1e6:.1f} million",
        "cycles, and all passed.",
    )


def networks() -> str:
    runs = [r for r in stored("sim_net") if r["network"] == "digits"]
    for r in runs:
        if not r["passed"] or r["equal"] != r["images"]:
            raise ValueError(f"sim_net.json: digits on {r['config']} did not pass")
    whole = [r for r in runs if not r["trace"]]
    traced = next(r for r in runs if r["trace"])
    names = " and ".join(f"`{r['config']}`" for r in whole)
    return sentence(
        f"`make sim-net` runs all {whole[0]['images']} held-out digits on {names}, with four",
        "latencies of the memory and eight seeds of stalls on every channel: every logit is equal.",
        f"With `TRACE=1` every instruction's result is compared too: {traced['values']:,} values",
        f"of {traced['images']} images on `{traced['config']}`.",
    )


def mutants() -> str:
    """From docs/mutants.md, which `make mutants` writes."""
    found = re.search(
        r"(\d+) of \1 listed mutants were run, in (\d+) files of rtl/: (\d+) caught \((.*?)\), "
        r"(\d+) equivalent, (\d+) survived",
        (ROOT / "docs" / "mutants.md").read_text(),
    )
    if not found:
        raise ValueError("docs/mutants.md: no line says that all listed mutants were run")
    run, files, caught, by, equivalent, survived = found.groups()
    return sentence(
        f"Of {run} wrong operators and constants put into {files} files of `rtl/`",
        f"(`make mutants`), {caught} were noticed ({by}), {equivalent} make the same machine,",
        f"{survived} survived.",
    )


def golden() -> str:
    cases = json.loads((ROOT / "golden" / "manifest.json").read_text())["cases"]
    units = dict.fromkeys(case["unit"] for case in cases)
    return sentence(f"`golden/` holds {len(cases)} cases of {len(units)} units.")


def results() -> str:
    """docs/results/about.json as a table."""
    rows = [
        (f"[{name}.json]({name}.json)", f"`{made['command']}`", made["date"], made["note"])
        for name, made in stored("about").items()
    ]
    return table(("file", "made by", "date", "how it came here"), rows)
