"""Data sets are the tensors that they claim to be."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ibrobust.datasets import Dataset, Split, load_dataset

DATA = Path(os.environ["IBROBUST_DATA"]) if "IBROBUST_DATA" in os.environ else None
needs_data = pytest.mark.skipif(DATA is None, reason="IBROBUST_DATA names no folder of data sets")


def test_digits_are_whole_and_disjoint():
    data = load_dataset("digits")
    assert (len(data.train), len(data.test), data.classes, data.shape) == (1297, 500, 10, (1, 8, 8))
    assert data.train.x.min() == 0
    assert data.train.x.max() == 1
    train = {row.numpy().tobytes() for row in data.train.x}
    assert not any(row.numpy().tobytes() in train for row in data.test.x)


@needs_data
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_sets_of_torchvision(name):
    data = load_dataset(name, data_dir=DATA)
    assert (len(data.train), len(data.test), data.classes, data.shape) == (60_000, 10_000, 10, (1, 28, 28))
    assert data.test.x.dtype == torch.uint8
    assert torch.bincount(data.test.y).min() > 800


def test_a_fingerprint_is_of_every_pixel_label_and_shape():
    x, y = torch.rand(6, 1, 4, 4), torch.arange(6)
    whole = Split(x, y)
    prints = {Dataset("a", whole[:3], whole[3:], 6).fingerprint, Dataset("a", whole[:2], whole[2:], 6).fingerprint}
    other = x.clone()
    other[5, 0, 3, 3] += 0.25
    prints.add(Dataset("a", whole[:3], Split(other, y)[3:], 6).fingerprint)
    prints.add(Dataset("a", whole[:3], Split(x, y.flip(0))[3:], 6).fingerprint)
    assert len(prints) == 4
    assert Dataset("b", whole[:3], whole[3:], 6).fingerprint in prints


def test_npz_in_both_layouts_and_with_a_training_part(tmp_path):
    x, y = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), np.uint8), np.arange(5)
    np.savez(tmp_path / "channels_last.npz", x=x, y=y)
    np.savez(tmp_path / "channels_first.npz", x=x.transpose(0, 3, 1, 2), y=y, x_train=x / 255, y_train=y)
    last, first = (load_dataset(str(tmp_path / f"channels_{which}.npz")) for which in ("last", "first"))
    assert torch.equal(last.test.x, first.test.x)
    assert last.shape == (3, 8, 9)
    assert len(last.train) == 0
    assert torch.allclose(first.train.x * 255, first.test.x.float(), atol=1e-4)
