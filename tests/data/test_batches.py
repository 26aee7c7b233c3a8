"""Batches of images, read here or by worker processes: the same."""

import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest

from fqvit_hw.data.batches import chunks, read_batches
from fqvit_hw.data.imagenet import Arrays, find_validation
from fqvit_hw.data.images import Preprocessing
from fqvit_hw.errors import UserError
from tests.folders import imagenet

pytest.importorskip("torch", reason="images are read with timm")


@pytest.fixture
def source(tmp_path):
    data = imagenet(tmp_path)
    (data / "val" / "n01443537" / "2.JPEG").write_bytes(b"broken")
    return find_validation(data, Preprocessing((16, 16)))


def test_chunks():
    assert chunks([5, 7, 8], 2) == ((5, 7), (8,))
    assert chunks([], 2) == ()


def test_workers_read_the_same_as_this_process(source):
    indices = chunks(range(15), 4)
    here, there = (list(read_batches(source, indices, workers)) for workers in (0, 2))
    assert len(here) == len(there) == 4
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        assert (a.files, a.labels, a.broken) == (b.files, b.labels, b.broken)
    assert sum(len(batch.files) for batch in here) == 14
    [(name, why)] = [entry for batch in here for entry in batch.broken]
    assert name == "n01443537/2.JPEG" and "cannot identify" in why
    assert here[0].labels == [0, 0, 0, 0] and here[3].labels == [281] * 3


def test_a_batch_of_broken_files_only(source):
    [batch] = read_batches(source, ((7,),), 0)
    assert batch.files == [] and len(batch.broken) == 1


@dataclass(frozen=True)
class Deadly(Arrays):
    def read(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_decoding_process_that_dies_is_one_error():
    source = Deadly(("a",), (0,), np.zeros((1, 3, 8, 8), np.uint8), None)
    with pytest.raises(UserError, match="a process that decodes images died"):
        list(read_batches(source, ((0,),), workers=1))
