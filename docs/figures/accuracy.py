"""Figures of the integer networks: accuracy, ingredients, feature maps."""

from __future__ import annotations

from .text import sentence, stored, table

BITS = {"minmax 8/8/4": "8/8/4", "minmax 8/8/8": "8/8/8"}  # the paper's simulations


def accuracy() -> str:
    """DeiT-Tiny: a row for each column of `fqvit-hw accuracy`."""
    summary = stored("accuracy_deit_tiny")
    rows = [("timm, float32", f"{summary['float']['top1']:.2%}", "", "", "")]
    rows += [outcome(f"the paper's simulation, {b}", f) for b, f in simulations(summary)]
    rows += [outcome(f"integers, `{r['configuration']}`", r["integer"]) for r in summary["runs"]]
    right = "only float32 / only this is right"
    return table(("computed by", "top-1", "agrees with float32", right, "logit SNR"), rows)


def simulations(summary: dict) -> list[tuple[str, dict]]:
    """Bits and figures of each simulation; configurations share them."""
    found = {run["simulation"]: run["reference"] for run in summary["runs"]}
    return [(BITS[name], figures) for name, figures in found.items()]


def outcome(name: str, f: dict) -> tuple[str, ...]:
    return (
        name,
        f"{f['top1']:.2%}",
        f"{100 * f['agreement']:.2f} ± {100 * f['agreement_se']:.2f} %",
        f"{f['only_float_right']} / {f['only_this_right']}",
        f"{f['logit_snr_db']:.1f} dB",
    )


def digits() -> str:
    summary = stored("accuracy_digits")
    parts = [f"simulation {bits} {f['top1']:.2%}" for bits, f in simulations(summary)]
    for run in summary["runs"]:
        f = run["integer"]
        parts.append(f"`{run['configuration']}` {f['top1']:.2%} ({f['logit_snr_db']:.1f} dB)")
    return sentence(
        f"Digits, the built-in network (`make accuracy`, {summary['images']} held-out images),",
        f"top-1: float32 {summary['float']['top1']:.2%}, {', '.join(parts)}.",
    )


def ablation() -> str:
    """The table that `fqvit-hw ablation` prints."""
    rows = [
        (r["name"], f"{r['snr']:.2f} dB", percent(r, "agreement"), percent(r, "top1"))
        for r in stored("ablation_deit_tiny")["rows"]
    ]
    return table(("configuration", "logit SNR", "agreement with float", "top-1"), rows)


def frontier() -> str:
    """A row for each width of attention codes and of weights; LUTs of the softmax where its RTL was
    mapped with that mode alone, memory of the codes of a token of DeiT-Tiny's."""
    from fqvit_hw.attention_codes import MODES
    from fqvit_hw.machine.hardware import ECP5_85K as hw  # noqa: N811

    luts = {u["config"].split()[-1]: u for u in stored("synth_modes") if not u["failure"]}
    rows = []
    for row in stored("frontier_deit_tiny")["rows"]:
        attention, weights = map(int, row["name"].split(" / "))
        mode = next(m for m in MODES.values() if m.of_maximum and m.bits == attention)
        built = weights == 8 and mode.name in luts
        area = (f"{luts[mode.name]['luts']:,}", f"{hw.codes * hw.rows * attention // 8192} KiB")
        snr, agrees = f"{row['snr']:.1f} dB", percent(row, "agreement")
        rows.append((attention, weights, snr, agrees, *(area if built else ("", ""))))
    softmax = "LUTs of `softmax`, `ecp5_85k`"
    head = ("attention", "weights", "logit SNR", "agreement with float", softmax, "code memory")
    return table(head, rows)


def percent(row: dict, name: str) -> str:
    """Empty where nobody wrote it down."""
    return f"{row[name]:.2%} ± {row[name + '_error']:.2%}" if name in row else ""


def ingredients() -> str:
    """What each added ingredient changes, the largest first."""
    rows = stored("ablation_deit_tiny")["rows"]
    steps = [row for row in rows if row["name"].startswith("+ ")]
    start = next(row for row in rows if row["name"] == "paper-884")
    gains = {
        row["name"].removeprefix("+ "): round(row["snr"] - before["snr"], 2)
        for before, row in zip([start, *steps], steps, strict=False)
    }
    first, last = start["snr"], steps[-1]["snr"]
    largest = sorted(gains.items(), key=lambda gain: -gain[1])
    shown = "; ".join(f"{name} {gain:+.2f}" for name, gain in largest)
    return sentence(
        f"From `paper-884` to `best` the logit SNR grows by {last - first:.1f} dB, from",
        f"{first:.1f} to {last:.1f}. What each ingredient adds to those before it, in dB: {shown}.",
    )


def features() -> str:
    rows = [
        (n, "{} x {}".format(*s["tokens"]), s["channels"], s["codes"], f"{s['snr_db']:.1f} dB")
        for n, s in enumerate(stored("features_swin_tiny")["stages"])
    ]
    return table(("stage", "tokens", "channels", "codes", "signal to noise"), rows)
