"""`fqvit-hw accuracy` from end to end: digits, and a small ImageNet folder of mixed images."""

import json

import pytest

from fqvit_hw import PRESETS
from fqvit_hw.commands import cli
from tests.folders import assert_same_records, imagenet, small_swin, use_small_model

pytest.importorskip("torch", reason="accuracy needs torch")


def run(*arguments) -> int:
    return cli.main(["accuracy", "--no-reference", *map(str, arguments)])


@pytest.fixture
def data(tmp_path):
    """15 images, one of them broken."""
    folder = imagenet(tmp_path / "IMAGENET")
    (folder / "val" / "n01443537" / "2.JPEG").write_bytes(b"broken")
    return folder


@pytest.fixture
def command(monkeypatch, data):
    """The arguments of a run on `data`, two presets, batches of four."""
    name = use_small_model(monkeypatch)
    configs = list(PRESETS)[:2]
    return ["--model", name, "--data", data, "--config", *configs, "--batch", 4, "--noise", 2]


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_digits(tmp_path, capsys):
    files = tmp_path / "new" / "a.json", tmp_path / "a.png"
    assert run("--model", "digits", "--json", files[0], "--png", files[1], "--noise", 8) == 0
    report = json.loads(files[0].read_text())
    assert [r["configuration"] for r in report["runs"]] == list(PRESETS)
    assert report["images"] == 360 and 0.96 <= report["float"]["top1"] <= 1
    for run_ in report["runs"]:
        integer = run_["integer"]
        assert integer["agreement"] > 0.95 and integer["logit_snr_db"] > 15
        changed = integer["only_this_right"] - integer["only_float_right"]
        assert changed == round((integer["top1"] - report["float"]["top1"]) * 360)
        layers = report["layers"]["configurations"][run_["configuration"]]["layer_snr_db"]
        assert layers["patch_embed"] > layers["blocks.0.attn.softmax"] > 5
    assert files[1].read_bytes().startswith(b"\x89PNG")
    table = capsys.readouterr().out
    assert "blocks.3.residual2" in table and all(f"integers, {name}" in table for name in PRESETS)


def test_an_imagenet_folder(tmp_path, capsys, command):
    results = tmp_path / "out" / "r.jsonl"
    assert run(*command, "--results", results) == 0
    printed = capsys.readouterr()
    assert "fqvit-hw: skipped n01443537/2.JPEG: cannot identify" in printed.err
    assert "14 images, 1 files skipped" in printed.out
    header, *records = lines(results)
    assert header["model"] == "deit_tiny_patch16_224.fb_in1k" and header["data"]["images"] == 15
    assert header["columns"] == ["float", *(f"integer {n}" for n in list(PRESETS)[:2])]
    assert len(records) == 15 == len({r["file"] for r in records})
    assert [r["file"] for r in records if "broken" in r] == ["n01443537/2.JPEG"]
    assert {r["label"] for r in records if "label" in r} == {0, 1, 281}
    summary = json.loads((tmp_path / "out" / "r.json").read_text())
    assert summary["header"] == header and summary["images"] == 14
    assert summary["skipped"][0]["file"] == "n01443537/2.JPEG"
    assert summary["runs"][0]["reference"] is None and summary["layers"]["images"] == 2


def test_an_interrupted_run_goes_on(tmp_path, capsys, monkeypatch, command):
    """Ctrl-C after two batches, then a torn line: the same records and figures as in one go."""
    from fqvit_hw.accuracy.evaluate import Evaluator

    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    assert run(*command, "--results", whole) == 0
    score, calls = Evaluator.score, []

    def interrupted(self, batch):
        calls.append(batch)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(self, batch)

    monkeypatch.setattr(Evaluator, "score", interrupted)
    assert run(*command, "--results", broken) == 130
    assert len(lines(broken)) == 1 + 8
    monkeypatch.setattr(Evaluator, "score", score)
    assert run(*command, "--results", broken) == 2
    assert "--resume" in capsys.readouterr().err
    broken.write_bytes(broken.read_bytes()[:-30])
    assert run(*command, "--results", broken, "--resume") == 0
    a, b = lines(whole), lines(broken)
    assert a[0] == b[0]
    assert_same_records(a[1:], b[1:])
    first, second = (json.loads(p.with_suffix(".json").read_text()) for p in (whole, broken))
    for a, b in zip(first["runs"], second["runs"], strict=True):
        assert a["integer"] == pytest.approx(b["integer"], rel=1e-5)
    assert run(*command, "--results", broken, "--resume") == 0  # nothing left to do
    assert len(lines(broken)) == 16


def test_another_measurement_is_refused(tmp_path, capsys, monkeypatch, command):
    results = tmp_path / "r.jsonl"
    arguments = [*command, "--results", results, "--resume"]
    assert run(*arguments) == 0
    before = results.read_bytes()
    capsys.readouterr()
    assert run(*arguments, "--calibration-images", 3) == 2
    assert "of another measurement" in capsys.readouterr().err
    use_small_model(monkeypatch, weights_seed=1)
    assert run(*arguments) == 2
    assert "weights_sha256" in capsys.readouterr().err
    assert results.read_bytes() == before


def test_limit_and_workers(tmp_path, capsys, command):
    """Six images, two of each class; decoded by a worker process: the same records."""
    for name, workers in (("here", 0), ("there", 1)):
        arguments = ["--results", tmp_path / f"{name}.jsonl", "--limit", 6, "--noise", 0]
        assert run(*command, *arguments, "--workers", workers) == 0
    (header, *records), (again, *others) = (
        lines(tmp_path / f"{n}.jsonl") for n in ("here", "there")
    )
    assert header == again
    assert_same_records(records, others)
    assert len(records) == 6
    assert (
        sorted(r["file"][:9] for r in records)
        == ["n01440764"] * 2 + ["n01443537"] * 2 + ["n02123045"] * 2
    )
    assert "signal to noise" not in capsys.readouterr().out


def test_three_columns(tmp_path, capsys, command):
    """Configurations of the same attention width share the paper's simulation."""
    arguments = ["accuracy", *map(str, command), "--config", "best"]
    assert cli.main([*arguments, "--json", str(tmp_path / "a.json")]) == 0
    table = capsys.readouterr().out
    summary = json.loads((tmp_path / "a.json").read_text())
    names = {run_["configuration"]: run_["simulation"] for run_ in summary["runs"]}
    assert names == {
        "paper-884": "minmax 8/8/4", "paper-888": "minmax 8/8/8", "best": "minmax 8/8/4"
    }  # fmt: skip
    assert table.count("paper's simulation, minmax 8/8/4") == 1
    for run_ in summary["runs"]:
        assert run_["reference"]["images"] == run_["integer"]["images"] == 14
        assert run_["reference"]["logit_snr_db"] > 0
    four, eight, best = (run_["reference"] for run_ in summary["runs"])
    assert four == best != eight


def test_swin(tmp_path, monkeypatch, data):
    """Every part of the summary also for windows, shifts and merging, with all three columns."""
    use_small_model(monkeypatch, model=small_swin())
    out = tmp_path / "swin.json"
    arguments = ["accuracy", "--model", "swin_tiny", "--data", str(data), "--noise", "2"]
    arguments += ["--config", "paper-884", "best", "--json", str(out), "--png", f"{out}.png"]
    assert cli.main(arguments) == 0
    summary = json.loads(out.read_text())
    assert summary["model"] == "swin_tiny_patch4_window7_224.ms_in1k" and summary["images"] == 14
    layers = summary["layers"]
    streams = ["patch_embed.conv", "layers.0.blocks.1.residual2", "layers.1.downsample.reduction"]
    assert all(name in layers["ranges"] for name in streams)
    paper, best = layers["configurations"].values()
    assert len(paper["attention_codes"]) == 4
    assert list(paper["ptf_factors"]) == list(layers["ranges"]) and best["ptf_factors"] == {}
    for layer in (paper, best):
        assert all(snr > 5 for snr in layer["layer_snr_db"].values())
    for run_ in summary["runs"]:
        assert run_["integer"]["logit_snr_db"] > 10 and run_["reference"]["logit_snr_db"] > 5


@pytest.mark.parametrize("command", ["accuracy", "ablation"])
def test_a_machine_without_a_compiler_is_told_why_it_is_slow(capsys, monkeypatch, command):
    from fqvit_hw.engines import fast

    monkeypatch.setattr(fast, "available", lambda: "no C compiler (cc)")
    # the line comes before the work, here before what is refused
    wrong = ["--model", "digits", "--data", "x"]
    assert cli.main([command, *wrong]) == 2
    told, error = capsys.readouterr().err.splitlines()
    assert told == "fqvit-hw: the numpy engine runs, many times slower: no C compiler (cc)"
    assert "digits brings its own" in error
    assert cli.main([command, *wrong, "--engine", "numpy"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    monkeypatch.setattr(fast, "available", lambda: None)
    assert cli.main([command, *wrong]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def refused(capsys, *arguments) -> str:
    assert run(*arguments) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1 and err[0].startswith("fqvit-hw: error: "), err
    return err[0]


def test_what_bad_input_gets(tmp_path, capsys, monkeypatch, command, data):
    digits = ("--model", "digits")
    assert "no --weights, --data, --calibration" in refused(
        capsys, *digits, "--calibration", tmp_path
    )
    assert "--resume needs --results" in refused(capsys, *digits, "--resume")
    assert "unknown engine 'x'" in refused(capsys, *digits, "--engine", "x")
    assert "runs on the CPU only" in refused(
        capsys, *digits, "--engine", "numpy", "--device", "cpu"
    )
    assert "expected a number from 1 up" in refused(capsys, *digits, "--limit", "0")
    assert "call the results .jsonl" in refused(capsys, *digits, "--results", tmp_path / "a.json")
    new = tmp_path / "new" / "deep"
    assert "--noise N" in refused(capsys, *digits, "--png", new / "a.png", "--noise", "0")
    assert "no --weights" in refused(
        capsys, *digits, "--weights", tmp_path, "--json", new / "a.json", "--results", new / "a.x"
    )
    assert not new.parent.exists()
    name = next(iter(PRESETS))
    assert "came before" in refused(capsys, *digits, "--config", name, name)
    assert "other" in refused(capsys, *digits, "--config", "other")
    assert "expected a file" in refused(capsys, *digits, "--png", tmp_path)
    assert "not an ImageNet folder" in refused(
        capsys, *command, "--data", data / "val" / "n01440764"
    )
    assert "not a synset" in refused_with_unknown_synset(capsys, command, data)
    assert "--calibration DIR" in refused(capsys, *command, "--data", data / "val")


def refused_with_unknown_synset(capsys, command, data) -> str:
    odd = data / "val" / "cats"
    (data / "val" / "n01443537").rename(odd)
    message = refused(capsys, *command)
    odd.rename(data / "val" / "n01443537")
    return message
