"""The checked-in golden vectors: made again byte for byte, complete, small, guarded by sha256."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fqvit_hw import QuantizedModel
from fqvit_hw.commands.cli import main
from fqvit_hw.data import digits
from fqvit_hw.data.digits import NETWORK_FILE
from fqvit_hw.formats import CODE, INT8, UINT8, IntFormat
from fqvit_hw.vectors import files as vectors
from fqvit_hw.vectors import record as golden
from fqvit_hw.vectors.cases import Case, Tensor
from fqvit_hw.vectors.corners import CORNERS

GOLDEN = vectors.DEFAULT
UNITS = [*CORNERS, "network"]


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "README.md"
    }


def test_made_again_byte_for_byte_without_torch(tmp_path):
    code = (
        "import sys; from fqvit_hw.commands.cli import main; "
        f"status = main(['golden', '--out', {str(tmp_path)!r}]); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    made, checked_in = files(tmp_path), files(GOLDEN)
    assert made.keys() == checked_in.keys()
    assert [name for name in made if made[name] != checked_in[name]] == []


def test_under_six_megabytes():
    assert sum(map(len, files(GOLDEN).values())) < 6_000_000


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_has_network_and_corner_cases(unit):
    names = [case.name for case in vectors.load(GOLDEN, unit)]
    assert len(names) == len(set(names)) >= 2
    if unit != "network":
        recorded = any(name.startswith(("block0", "patch_embed")) for name in names)
        assert recorded, "no case from vectors/record.py"
        corners = [n for n in names if not n.startswith(("block", "patch_embed", "head", "norm"))]
        assert corners, "no case from vectors/corners.py"


@pytest.mark.parametrize("unit", UNITS)
def test_hex_files_hold_the_arrays_of_the_npz(unit):
    manifest = vectors.load_manifest(GOLDEN)
    entries = [entry for entry in manifest["cases"] if entry["unit"] == unit]
    for entry, case in zip(entries, vectors.load(GOLDEN, unit), strict=True):
        for t in entry["tensors"]:
            text = (GOLDEN / t["hex"]).read_bytes()
            assert vectors.sha256(text) == t["hex_sha256"]
            tensor = case.tensors[t["name"]]
            assert tensor.format == IntFormat(t["width"], t["signed"])
            assert list(tensor.data.shape) == t["shape"]
            assert vectors.array_sha256(tensor) == t["array_sha256"]
            parsed = vectors.from_hex(text.decode(), [(0, tensor.format)], t["hex"])
            np.testing.assert_array_equal(parsed, tensor.data.reshape(-1))


def test_whole_images_are_the_real_network_on_real_images():
    qm = QuantizedModel.load(NETWORK_FILE)
    images = digits.test_set()[0]
    cases = vectors.load(GOLDEN, "network")
    assert len(cases) >= 2
    for n, case in enumerate(cases):
        np.testing.assert_array_equal(case["pixels"], images[n])
        np.testing.assert_array_equal(case["head"], qm.run(images[n][None])[0])


def small_case() -> Case:
    x = Tensor("input", np.array([1, -2], np.int8), INT8)
    return Case("unit", "case", {"x": x, "y": Tensor("output", np.array([[3, -4]]), INT8)})


def test_changed_file_is_refused(tmp_path):
    vectors.write(tmp_path / "g", [small_case()], {})
    path = tmp_path / "g" / "unit" / "case.npz"
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"case\.npz: sha256 differs"):
        vectors.load(tmp_path / "g", "unit")


def test_two_cases_of_one_name_write_nothing(tmp_path):
    with pytest.raises(ValueError, match="two cases are named unit/case"):
        vectors.write(tmp_path / "g", [small_case(), small_case()], {})
    assert files(tmp_path) == {}


def test_manifest_of_another_version_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(ValueError, match="expected 'fqvit-hw golden vectors' version 1"):
        vectors.load(tmp_path, "softmax")
    (tmp_path / "manifest.json").write_text("[")
    with pytest.raises(ValueError, match="no golden vectors here"):
        vectors.load(tmp_path, "softmax")


def test_unknown_unit_names_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown unit .divider.; .*softmax"):
        vectors.load(GOLDEN, "divider")


@pytest.mark.parametrize(
    ("text", "message"),
    [("0\nxx\n", "line 2: 'xx'"), ("1ff\n", "'1ff' does not fit uint8"), ("@0\n", "line 1: '@0'"),
     ("-1\n", "'-1' does not fit")],
)  # fmt: skip
def test_hex_that_is_none(text, message):
    with pytest.raises(ValueError, match=message):
        vectors.from_hex(text, [(0, UINT8)], "file")


def test_hex_round_trip_with_comments():
    text = "// made by a simulator\n" + vectors.to_hex([-128, 127, -1], INT8) + "0_1 // last\n"
    assert vectors.from_hex(text, [(0, INT8)], "file").tolist() == [-128, 127, -1, 1]


def test_network_and_images_go_together(capsys):
    assert main(["golden", "--network", str(NETWORK_FILE)]) == 2
    assert "--network and --images go together" in capsys.readouterr().err


def test_vectors_of_a_network_of_ones_own(tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    for n, image in enumerate(digits.test_set()[0][5:8]):
        Image.fromarray(image[0]).save(tmp_path / "images" / f"{n}.png")
    out = tmp_path / "out"
    arguments = ["--network", str(NETWORK_FILE), "--images", str(tmp_path / "images")]
    assert main(["golden", *arguments, "--out", str(out)]) == 0
    cases = vectors.load(out, "network")
    assert len(cases) == 2
    np.testing.assert_array_equal(cases[0]["pixels"], digits.test_set()[0][5])


def test_images_that_are_none_leave_nothing_behind(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    out = tmp_path / "out"
    arguments = ["golden", "--network", str(NETWORK_FILE), "--images", str(tmp_path / "images")]
    for message in ("holds no images", "none of its 1 images can be read"):
        assert main([*arguments, "--out", str(out)]) == 2
        assert message in capsys.readouterr().err
        (tmp_path / "images" / "broken.png").write_bytes(b"broken")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_file_is_no_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("theirs")
    assert main(["golden", "--out", str(tmp_path / "file")]) == 2
    assert f"{tmp_path / 'file'}: expected a folder, found a file" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "theirs"


def test_a_folder_of_the_users_is_not_replaced(tmp_path):
    theirs = tmp_path / "gelu" / "rtl.v"
    theirs.parent.mkdir()
    theirs.write_text("module gelu;")
    with pytest.raises(ValueError, match="would be replaced"):
        vectors.write(tmp_path, vectors.load(GOLDEN, "gelu"), {})
    assert theirs.read_text() == "module gelu;" and len(list(tmp_path.iterdir())) == 1
    theirs.unlink()
    theirs.parent.rmdir()
    for _ in range(2):  # our own are
        vectors.write(tmp_path, vectors.load(GOLDEN, "gelu"), {})


def test_the_width_of_attention_codes_follows_from_the_mode():
    qm = QuantizedModel.load(NETWORK_FILE)
    blocks = list(qm.network.blocks)
    attention = blocks[1].attention
    flat = replace(attention.softmax, table=np.full(256, 7), mode="uniform8", row_norm=False)
    blocks[1] = replace(blocks[1], attention=replace(attention, softmax=flat))
    uniform = replace(qm, network=replace(qm.network, blocks=tuple(blocks)))
    image = digits.test_set()[0][0]
    case = golden.image_case("image", uniform.network, image, uniform.trace(image))
    codes = case.tensors["blocks.1.attn.softmax"]
    assert codes.format == UINT8 and codes.data.max() <= CODE.max  # 255 / 17
    assert case.tensors["blocks.0.attn.softmax"].format == CODE


def test_vectors_of_a_swin(tmp_path):
    """Windowed, shifted and padded: every output follows from the case's own inputs."""
    pytest.importorskip("torch", reason="calibration needs torch")
    from fqvit_hw.vectors.record import golden_cases
    from tests.models import SWIN_SHAPE, random_images, tiny_quantized_swin

    qm = tiny_quantized_swin()
    image = random_images(1, seed=2, shape=SWIN_SHAPE)
    cases = {(c.unit, c.name): c for c in golden_cases(qm, image)}
    trace = qm.trace(image[0])
    last = cases["attention", "block3_head2"]
    assert last["mask"].any() and last["bias"].any()
    context = trace["layers.1.blocks.1.attn.context"][-1, 2]  # (W, H, N, D), last window, head 2
    np.testing.assert_array_equal(last["y"], context)
    np.testing.assert_array_equal(
        cases["residual", "block3_residual1"]["y"], trace["layers.1.blocks.1.residual1"]
    )
    np.testing.assert_array_equal(
        cases["layernorm", "layers.1.downsample.norm"]["y"], trace["layers.1.downsample.norm"]
    )
    np.testing.assert_array_equal(cases["network", "image0"]["head"], qm.run(image)[0])
