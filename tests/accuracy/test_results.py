"""The results file: continued, never mixed, no image counted twice."""

import json

import pytest

from fqvit_hw.accuracy.results import FORMAT, VERSION, ResultsFile, read_results, refuse_early
from fqvit_hw.errors import UserError

HEADER = {
    "format": FORMAT,
    "version": VERSION,
    "model": "m",
    "weights_sha256": "0" * 64,
    "networks_sha256": {"a": "1" * 64},
    "configurations": {"a": {}},
    "simulations": {"a": None},
    "columns": ["float", "integer a"],
    "calibration": {},
    "preprocessing": {},
    "data": {},
    "limit": (1, 2),  # a tuple comes back as a list
}


def record(i):
    return {
        "file": f"n01440764/{i}.JPEG",
        "label": 0,
        "top5": {"float": [0], "integer a": [1, 0]},
        "signal": i / 3,
        "error": {"integer a": 0.5},
    }


@pytest.fixture
def path(tmp_path):
    """A file with four records."""
    path = tmp_path / "new" / "r.jsonl"
    results = ResultsFile(path, HEADER, resume=False)
    results.append([record(0), record(1)])
    assert len(path.read_bytes().splitlines()) == 3  # flushed, not yet closed
    results.append([record(2), {"file": "x", "broken": "why"}])
    results.close()
    return path


def resume(path, header=HEADER):
    results = ResultsFile(path, header, resume=True)
    done = results.done
    results.close()
    return done


def test_round_trip(path):
    header, records = read_results(path)
    assert header == json.loads(json.dumps(HEADER))
    assert list(records) == [record(0), record(1), record(2), {"file": "x", "broken": "why"}]
    assert resume(path) == {record(i)["file"] for i in range(3)} | {"x"}


@pytest.mark.parametrize("cut", [1, 5, 21, 40])
def test_a_torn_last_line_is_cut_off_and_done_again(path, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    kept = [record(0), record(1), record(2)] if cut < 27 else [record(0), record(1)]
    assert [r["file"] for r in read_results(path)[1]] == [r["file"] for r in kept]
    results = ResultsFile(path, HEADER, resume=True)
    assert results.done == {r["file"] for r in kept}
    results.append([record(7)])
    results.close()
    assert list(read_results(path)[1]) == [*kept, record(7)]


def test_a_torn_header_starts_again(path):
    path.write_bytes(path.read_bytes()[:30])
    assert resume(path) == set()
    assert read_results(path)[0]["model"] == "m"


def test_no_image_is_counted_twice(path):
    results = ResultsFile(path, HEADER, resume=True)
    with pytest.raises(ValueError, match="counted twice"):
        results.append([record(1)])
    results.close()


@pytest.mark.parametrize("again", [record(1), {"file": record(1)["file"], "broken": "why"}])
def test_an_image_that_stands_twice_is_refused(path, again):
    """Two shards of one measurement, joined by hand."""
    with path.open("ab") as file:
        file.write(json.dumps(again).encode() + b"\n")
    before, named = path.read_bytes(), r"r\.jsonl, line 6: n01440764/1\.JPEG stands there twice"
    with pytest.raises(UserError, match=named):
        list(read_results(path)[1])
    with pytest.raises(UserError, match=named):
        refuse_early(path, {"model": "m"})
    with pytest.raises(UserError, match=named):
        resume(path)
    assert path.read_bytes() == before


def test_an_existing_file_is_not_overwritten(path):
    before = path.read_bytes()
    with pytest.raises(UserError, match="--resume"):
        ResultsFile(path, HEADER, resume=False)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "other"}, r'model \("m" there, "other" now\)'),
        ({"weights_sha256": "2" * 64}, "weights_sha256$"),
        ({"networks_sha256": {"b": "1" * 64}}, "networks_sha256"),
        ({"new": 1}, r"new \(null there, 1 now\)"),
    ],
)
def test_another_measurement_is_refused(path, change, named):
    before = path.read_bytes()
    with pytest.raises(UserError, match="of another measurement.*" + named):
        resume(path, HEADER | change)
    assert path.read_bytes() == before


def test_a_file_of_another_model_is_refused_before_calibration(path, tmp_path):
    refuse_early(tmp_path / "absent.jsonl", {"model": "x"})
    refuse_early(path, {"model": "m", "limit": (1, 2)})
    with pytest.raises(UserError, match=r"of another measurement.*model"):
        refuse_early(path, {"model": "x"})


def test_files_of_others(path, tmp_path):
    other = tmp_path / "other.jsonl"
    for content in (b'{"some": "thing"}\n', b"text\n", b"[1]\n", b'{"format":"x","version":1}\n'):
        other.write_bytes(content)
        with pytest.raises(UserError, match="not a results file"):
            resume(other)
        assert other.read_bytes() == content
    damaged = path.read_bytes().splitlines(keepends=True)
    damaged[2] = b'{"file": 3}\n'
    path.write_bytes(b"".join(damaged))
    with pytest.raises(UserError, match="line 3: damaged"):
        resume(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"top5": {}}, "top5 of float"),
        ({"top5": {"float": [0]}}, "top5 of integer a"),
        ({"top5": {"float": [0], "integer a": []}}, "top5 of integer a"),
        ({"top5": [0]}, "top5"),
        ({"error": {}}, "error of integer a"),
        ({"error": None}, "error"),
        ({"label": "0"}, "label"),
        ({"signal": None}, "signal"),
        ({"broken": 3}, "broken"),
    ],
)
def test_a_record_that_lacks_a_figure_is_refused_by_its_line(path, change, named):
    with path.open("ab") as file:
        file.write(json.dumps(record(9) | change).encode() + b"\n")
    with pytest.raises(UserError, match=rf"r\.jsonl, line 6: damaged: .*{named}"):
        list(read_results(path)[1])


@pytest.mark.parametrize("key", [key for key in HEADER if key != "limit"])
def test_a_header_that_lacks_a_key_is_refused(path, key):
    first, *rest = path.read_bytes().splitlines(keepends=True)
    header = {k: v for k, v in json.loads(first).items() if k != key}
    path.write_bytes(json.dumps(header).encode() + b"\n" + b"".join(rest))
    named = "not a results file" if key in ("format", "version") else f"its header.* {key}"
    with pytest.raises(UserError, match=rf"r\.jsonl: .*{named}"):
        read_results(path)


def test_two_processes_do_not_write_one_file(path):
    results = ResultsFile(path, HEADER, resume=True)
    with pytest.raises(UserError, match="another process"):
        resume(path)
    results.close()
    assert len(resume(path)) == 4


def test_what_is_not_a_number_is_refused(path):
    results = ResultsFile(path, HEADER, resume=True)
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.append([record(8) | {"signal": float("nan")}])
    results.close()
    assert len(resume(path)) == 4
