"""Addresses of Swin: against timm's own roll, pad, partition and mask, on every small grid."""

from types import SimpleNamespace

import numpy as np
import pytest

from fqvit_hw.units import windows

SHAPES = [
    (H, W, (h, w), (y, x))
    for H in (1, 4, 5, 8)
    for W in (3, 7, 8)
    for h, w in ((1, 3), (2, 2), (4, 3))
    for y, x in {(0, 0), (h // 2, w // 2), (0, w // 2)}
]


@pytest.mark.parametrize(("height", "width", "window", "shift"), SHAPES)
def test_partition_is_timms(height, width, window, shift):
    torch = pytest.importorskip("torch")
    from fqvit_hw.timm_compat import import_timm

    import_timm()
    from timm.models.swin_transformer import window_partition

    tokens = torch.arange(1, height * width + 1).reshape(1, height, width, 1)  # 0 is the padding
    rolled = torch.roll(tokens, (-shift[0], -shift[1]), (1, 2))
    pad = (0, 0, 0, -width % window[1], 0, -height % window[0])
    expected = window_partition(torch.nn.functional.pad(rolled, pad), window).flatten(1) - 1
    got = windows.partition(height, width, window, shift)
    np.testing.assert_array_equal(got, expected.numpy())
    back = windows.reverse(height, width, window, shift)
    np.testing.assert_array_equal(got.ravel()[back], np.arange(height * width))


@pytest.mark.parametrize(("height", "width", "window", "shift"), SHAPES)
def test_mask_is_timms(height, width, window, shift):
    pytest.importorskip("torch")
    from fqvit_hw.timm_compat import import_timm

    import_timm()
    from timm.models.swin_transformer import SwinTransformerBlock

    shape = (1, *(windows.padded(n, w) for n, w in zip((height, width), window, strict=True)))
    grid = SimpleNamespace(shape=shape, device="cpu", dtype=None)
    block = SimpleNamespace(window_size=window, shift_size=shift, window_area=window[0] * window[1])
    expected = SwinTransformerBlock.get_attn_mask(block, grid)
    got = windows.shift_mask(height, width, window, shift)
    if expected is None:
        assert got is None
    else:
        np.testing.assert_array_equal(got, expected.numpy() != 0)
        assert not got[:, np.arange(got.shape[1]), np.arange(got.shape[1])].any()  # never itself


@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 4), (4, 5), (1, 1), (7, 7)])
def test_merging_joins_two_by_two(height, width):
    tokens = np.arange(height * width).reshape(height, width)
    four = windows.merging(height, width)
    assert four.shape == (-(-height // 2) * -(-width // 2), 4)
    for n, found in enumerate(four):
        top, left = 2 * (n // -(-width // 2)), 2 * (n % -(-width // 2))
        for place, (y, x) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):  # timm's order
            inside = top + y < height and left + x < width
            assert found[place] == (tokens[top + y, left + x] if inside else windows.PAD)


def test_take_fills_what_is_not_there():
    x = np.arange(12, dtype=np.int8).reshape(2, 3, 2)
    index = np.array([[2, windows.PAD], [0, 1]])
    got = windows.take(x, index, -7)
    np.testing.assert_array_equal(got[0], [[[4, 5], [-7, -7]], [[0, 1], [2, 3]]])
    np.testing.assert_array_equal(got[1], [[[10, 11], [-7, -7]], [[6, 7], [8, 9]]])
    np.testing.assert_array_equal(windows.take(x, index[1], None), x[:, :2])


def test_tables_are_shared_and_read_only():
    table = windows.partition(4, 4, (2, 2), (1, 1))
    assert table is windows.partition(4, 4, (2, 2), (1, 1))
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 1
