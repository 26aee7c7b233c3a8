"""Models that do not exist, and weights that cannot be had."""

import json
import socket
import time

import pytest

from fqvit_hw.errors import UserError
from fqvit_hw.zoo.models import load_model

pytest.importorskip("torch", reason="the models are timm's")


@pytest.mark.parametrize("name", ["no_such_model", "deit_tiny_patch16_224.no_such_tag"])
def test_unknown_names(name):
    with pytest.raises(UserError, match="unknown model"):
        load_model(name)


def test_a_hugging_face_folder_says_how_its_images_are_prepared(tmp_path):
    import torch

    from fqvit_hw.timm_compat import import_timm

    weights = import_timm().create_model("deit_tiny_patch16_224").state_dict()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    settings = {"crop_pct": 0.875, "mean": [0.4, 0.5, 0.6]}
    config = {"architecture": "deit_tiny_patch16_224", "pretrained_cfg": settings}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load_model("deit_tiny", tmp_path)
    assert torch.equal(model.state_dict()["head.weight"], weights["head.weight"])
    assert {k: model.pretrained_cfg[k] for k in settings} == settings
    with pytest.raises(UserError, match="'deit_tiny_patch16_224', expected 'deit_small"):
        load_model("deit_small", tmp_path)


def test_without_network_one_error_at_once_names_both_ways(monkeypatch, tmp_path):
    """The hub's own client would retry for the better part of a minute."""
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    for name in ("https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(UserError, match="connect to the network, or pass --weights") as caught:
        load_model("deit_tiny")
    assert "127.0.0.1" in str(caught.value) and "refused" in str(caught.value)
    assert time.monotonic() - start < 20  # 3 s where nothing else runs
    assert constants.HF_HUB_OFFLINE is False


def test_a_swin_of_another_image_size_shifts_where_a_vit_is_refused(tmp_path):
    """At 224 the last stage is one window; at 256 x 320 its odd block shifts."""
    from safetensors.torch import save_file

    from fqvit_hw.timm_compat import import_timm

    timm = import_timm()
    weights = tmp_path / "swin.safetensors"
    state = timm.create_model("swin_tiny_patch4_window7_224").state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, weights)
    own = load_model("swin_tiny", weights)
    larger = load_model("swin_tiny", weights, (256, 320))
    assert tuple(own.layers[3].blocks[1].shift_size) == (0, 0)
    assert tuple(larger.layers[3].blocks[1].shift_size) == (3, 3)
    assert tuple(larger.patch_embed.img_size) == (256, 320)
    with pytest.raises(UserError, match="deit_tiny: only a Swin takes another image size"):
        load_model("deit_tiny", weights, (256, 320))
