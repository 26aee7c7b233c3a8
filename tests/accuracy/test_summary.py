"""Figures from records, against figures computed from the arrays at once."""

import numpy as np
import pytest

from fqvit_hw.accuracy.summary import summarize, table

HEADER = {
    "model": "m",
    "columns": ["float", "reference minmax 8/8/4", "integer a", "integer b"],
    "configurations": {"a": {"x": 1}, "b": {"x": 2}},
    "simulations": {"a": "minmax 8/8/4", "b": None},
}


def make_records(n=200, seed=3):
    """Random logits of 12 classes with noise; returns the records and the arrays."""
    from fqvit_hw.accuracy.evaluate import top

    rng = np.random.default_rng(seed)
    real = rng.normal(size=(n, 12))
    labels = np.where(rng.random(n) < 0.7, real.argmax(1), rng.integers(0, 12, n))
    logits = {"float": real}
    for column, noise in zip(HEADER["columns"][1:], (0.3, 0.2, 0.0), strict=True):
        logits[column] = real + noise * rng.normal(size=real.shape)
    best = {c: top(x) for c, x in logits.items()}
    records = [
        {
            "file": f"{i}",
            "label": int(labels[i]),
            "top5": {c: b[i].tolist() for c, b in best.items()},
            "signal": float((real[i] ** 2).sum()),
            "error": {
                c: float(((x[i] - real[i]) ** 2).sum()) for c, x in logits.items() if c != "float"
            },
        }
        for i in range(n)
    ]
    return records, logits, labels


def test_figures():
    records, logits, labels = make_records()
    records.insert(7, {"file": "x.JPEG", "broken": "truncated"})
    summary = summarize(HEADER, records)
    assert summary["images"] == 200
    assert summary["skipped"] == [{"file": "x.JPEG", "reason": "truncated"}]
    real = logits["float"]
    right = real.argmax(1) == labels
    assert summary["float"]["top1"] == np.mean(right)
    a = summary["runs"][0]
    assert a["configuration"] == "a" and a["config"] == {"x": 1}
    for kind in ("integer", "reference"):
        x = logits["integer a" if kind == "integer" else "reference minmax 8/8/4"]
        found, this = a[kind], x.argmax(1) == labels
        assert found["top1"] == np.mean(this)
        among = (np.argsort(-x, axis=1)[:, :5] == labels[:, None]).any(1)
        assert found["top5"] == np.mean(among)
        agree = real.argmax(1) == x.argmax(1)
        assert found["agreement"] == np.mean(agree)
        assert found["agreement_se"] == pytest.approx(np.std(agree) / np.sqrt(200))
        assert found["only_float_right"] == np.sum(right & ~this) > 0
        assert found["only_this_right"] == np.sum(~right & this) > 0
        change = this.astype(int) - right.astype(int)
        assert found["change"] == pytest.approx(change.mean())
        assert found["change_se"] == pytest.approx(change.std() / np.sqrt(200))
        expected = 10 * np.log10((real**2).sum() / ((x - real) ** 2).sum())
        assert found["logit_snr_db"] == pytest.approx(expected)
    exact = summary["runs"][1]
    assert exact["reference"] is None
    assert exact["integer"]["logit_snr_db"] is None and exact["integer"]["agreement"] == 1
    assert exact["integer"]["agreement_se"] == 0


def test_the_order_of_the_records_does_not_matter():
    records = make_records()[0]
    a, b = (summarize(HEADER, order) for order in (records, records[::-1]))
    assert a["runs"][0]["integer"] == pytest.approx(b["runs"][0]["integer"])


def test_table():
    records = make_records()[0]
    lines = table(summarize(HEADER, [*records, {"file": "a/x", "broken": "why"}])).splitlines()
    assert lines[0] == "m: 200 images, 1 files skipped" and lines[1] == "  skipped a/x: why"
    assert lines[2].split("  ")[-1] == "logit SNR"
    names = [line.split("  ")[0] for line in lines[3:]]
    assert names == ["float", "paper's simulation, minmax 8/8/4", "integers, a", "integers, b"]
    assert lines[-1].endswith("exact") and lines[-2].endswith("dB")


def test_nothing_but_broken_files():
    summary = summarize(HEADER, [{"file": "a/x", "broken": "why"}])
    assert summary["images"] == 0 and summary["float"] is None
    assert "no image could be scored" in table(summary)
