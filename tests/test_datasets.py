"""Data sets are the tensors that they claim to be."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ibrobust.datasets import DATASETS, Dataset, Split, load_dataset
from ibrobust.errors import BadInput

DATA = Path(os.environ["IBROBUST_DATA"]) if "IBROBUST_DATA" in os.environ else None
needs_data = pytest.mark.skipif(DATA is None, reason="IBROBUST_DATA names no folder of data sets")


def test_digits_are_whole_and_disjoint():
    data = load_dataset("digits")
    assert (len(data.train), len(data.test), data.classes, data.shape) == (1297, 500, 10, (1, 8, 8))
    assert data.train.x.min() == 0
    assert data.train.x.max() == 1
    train = {row.numpy().tobytes() for row in data.train.x}
    assert not any(row.numpy().tobytes() in train for row in data.test.x)


X, Y = torch.rand(4, 1, 3, 3), torch.arange(4)
BROKEN = {
    "images have shape": (Split(X[0], Y), Split(X, Y)),
    "images are torch.float64": (Split(X, Y), Split(X.double(), Y)),
    "labels are torch.int32": (Split(X, Y.int()), Split(X, Y)),
    "they have to be 4 int64": (Split(X, Y), Split(X, Y[:3])),
    "outside [0, 1]": (Split(X + 1, Y), Split(X, Y)),
    "labels are negative": (Split(X, Y), Split(X, Y - 1)),
    "there is no image": (Split(X, Y), Split(X[:0], Y[:0])),
    "images (C, H, W) are (1, 3, 2) in training and (1, 3, 3) in the test": (Split(X[..., :2], Y), Split(X, Y)),
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_registered_loader_that_returns_no_data_set_is_refused_by_name(words):
    DATASETS["broken"] = lambda _folder, _download: BROKEN[words]
    try:
        with pytest.raises(BadInput, match=re.escape(words)) as refused:
            load_dataset("broken")
        assert str(refused.value).startswith("data set 'broken': ")
    finally:
        del DATASETS["broken"]


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 5000 + ".npz", "nul\0", "nowhere/at/all", "", "\udcff"])
def test_a_name_that_can_be_no_path_is_refused(name):
    with pytest.raises(BadInput) as refused:
        load_dataset(name)
    assert len(str(refused.value)) < 600 or "no data set" in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03" + bytes(4), b"\0\0\x08\x03" + b"\xff" * 12, b"text"])
def test_damaged_files_of_a_named_set_are_one_line(tmp_path, content):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (tmp_path / "MNIST" / "raw" / f"{part}-{kind}-ubyte").write_bytes(content)
    with pytest.raises(BadInput, match=r"MNIST in .* cannot be read") as refused:
        load_dataset("mnist", data_dir=tmp_path)
    assert "\n" not in str(refused.value)
    with pytest.raises(BadInput, match=r"FashionMNIST is not in .* fetches it there"):
        load_dataset("fashion-mnist", data_dir=tmp_path)
    with pytest.raises(BadInput, match=r"MNIST needs a folder: data_dir"):
        load_dataset("mnist")


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


@pytest.mark.parametrize("elsewhere", [False, True])
def test_digits_are_scikit_learns(monkeypatch, elsewhere):
    if elsewhere:
        monkeypatch.setattr("ibrobust.datasets.named.find_spec", lambda _: None)
    loaded = load_digits()
    train, test = load_dataset("digits").train, load_dataset("digits").test
    x, y = torch.cat([train.x, test.x]), torch.cat([train.y, test.y])
    assert torch.equal(x, torch.tensor(loaded.images / 16, dtype=torch.float32)[:, None])
    assert torch.equal(y, torch.tensor(loaded.target))
    assert (x.dtype, y.dtype, len(test)) == (torch.float32, torch.int64, 500)
