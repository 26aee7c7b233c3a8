"""Weights in every form in which people publish them, and what does not fit."""

import argparse
import json

import pytest

from fqvit_hw.errors import UserError
from fqvit_hw.zoo.checkpoints import fit_weights, read_weights, settings_of_folder, weights_sha256
from tests.models import tiny_vit

torch = pytest.importorskip("torch", reason="weights are read with torch")


def equal(a: dict, b: dict) -> bool:
    return set(a) == set(b) and all(torch.equal(a[n], b[n]) for n in a)


@pytest.fixture(scope="module")
def state():
    return tiny_vit(seed=5).state_dict()


def test_forms_of_a_file(tmp_path, state):
    from safetensors.torch import save_file

    forms = {
        "bare.pth": state,
        "deit.pth": {"model": state, "args": argparse.Namespace(lr=0.1), "epoch": 300},
        "timm.pth.tar": {"state_dict": state, "arch": "x"},
        "both.bin": {"model": {"state_dict": state}},
        "parallel.pth": {"model": {f"module.{n}": t for n, t in state.items()}},
    }
    for name, content in forms.items():
        torch.save(content, tmp_path / name)
        assert equal(read_weights(tmp_path / name), state), name
    save_file(state, tmp_path / "a.safetensors")
    assert equal(read_weights(tmp_path / "a.safetensors"), state)


def test_hugging_face_folders(tmp_path, state):
    from safetensors.torch import save_file

    with pytest.raises(UserError, match=r"model\.safetensors or pytorch_model\.bin"):
        read_weights(tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert equal(read_weights(tmp_path), state)
    (tmp_path / "pytorch_model.bin").unlink()
    save_file(state, tmp_path / "model.safetensors")
    assert equal(read_weights(tmp_path), state)
    with pytest.raises(UserError, match=r"config\.json"):
        settings_of_folder(tmp_path, "vit_x.tag")
    config = {"architecture": "vit_x", "pretrained_cfg": {"mean": [0.5], "crop_pct": 0.9, "tag": 1}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert settings_of_folder(tmp_path, "vit_x.tag") == {"mean": [0.5], "crop_pct": 0.9}
    assert settings_of_folder(tmp_path / "model.safetensors", "vit_x") == {}
    with pytest.raises(UserError, match="'vit_x', expected 'other'"):
        settings_of_folder(tmp_path, "other.tag")


def test_what_is_no_file_of_weights(tmp_path):
    """torch names a text file's first opcode: a KeyError of 101."""
    for name, content in (("a.pth", b"hello, this is text\n"), ("b.pth", b""), ("c.bin", b"\x80")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}: not a file of weights: .*[A-Za-z]{{4}}"):
            read_weights(tmp_path / name)


def test_folders_that_lack_a_file(tmp_path, state):
    both = r"must hold config\.json and model\.safetensors or pytorch_model\.bin"
    with pytest.raises(UserError, match=both):
        settings_of_folder(tmp_path, "vit_x")
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=both):
        settings_of_folder(tmp_path, "vit_x")
    (tmp_path / "config.json").write_text("no json")
    with pytest.raises(UserError, match=r"config\.json: cannot be read"):
        settings_of_folder(tmp_path, "vit_x")


def test_names_of_another_library_are_named(tmp_path, state):
    strange = {
        "vit.embeddings.cls_token": state["cls_token"],
        "vit.encoder.layer.0.x": torch.ones(1),
    }
    with pytest.raises(UserError, match=r"2 unknown \(vit\.embeddings\.cls_token"):
        fit_weights(tiny_vit(), strange, tmp_path)


def test_weights_of_another_image_size_are_not_resampled():
    """timm's own filter would interpolate them: another model than the one asked for."""
    other = tiny_vit(img_size=(24, 16)).state_dict()
    other["extra"] = torch.ones(1)  # so that the names are looked at
    with pytest.raises(UserError, match=r"of another shape \(pos_embed\)"):
        fit_weights(tiny_vit(), other, "file")


def as_the_authors_publish(state: dict) -> dict:
    """timm's Swin names -> those of the authors' checkpoints, with their buffers."""
    out = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[2:3] == ["downsample"]:
            parts[1] = str(int(parts[1]) - 1)
        out[".".join(parts).replace("head.fc.", "head.")] = tensor
    out["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 49, 49)
    out["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
    return out


def test_swin_as_its_authors_publish_it():
    from fqvit_hw.timm_compat import import_timm

    import_timm()
    from timm.models.swin_transformer import SwinTransformer

    def swin(seed):
        torch.manual_seed(seed)
        return SwinTransformer(
            img_size=56,
            embed_dim=8,
            depths=(2, 2, 1),  # the names of one downsampling become those of the other
            num_heads=(1, 2, 2),
            window_size=7,
            num_classes=5,
        )

    wanted, model = swin(1).state_dict(), swin(2)
    published = as_the_authors_publish(wanted)
    assert set(published) != set(wanted)
    fit_weights(model, published, "file")
    assert equal(model.state_dict(), wanted)


def test_the_digest_is_of_the_tensors_not_of_the_file():
    a, b, c = tiny_vit(seed=1), tiny_vit(seed=1), tiny_vit(seed=2)
    assert weights_sha256(a) == weights_sha256(b) != weights_sha256(c)
    with torch.no_grad():
        b.blocks[1].mlp.fc2.bias[0] += 1
    assert weights_sha256(a) != weights_sha256(b)
