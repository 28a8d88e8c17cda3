"""Images that are read as they are needed are the same images, under the same fingerprint, as those in memory."""

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ibrobust.datasets import Split, StoredSplit, fingerprints, interface, load_dataset
from ibrobust.errors import BadInput
from ibrobust.experiments.evaluation import evaluate_subject
from ibrobust.experiments.subject import foreign_subject
from ibrobust.learning.training import train
from ibrobust.recipe import Recipe
from ibrobust.robustness.question import Execution
from ibrobust.robustness.settings import make_settings

NET = """
from torch import nn
def make():
    import torch
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
def ready():
    import torch
    model = make()
    model(torch.zeros(1, 3, 6, 5))
    return model
"""


def pixels(count: int = 24) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (count, 3, 6, 5)).astype(np.uint8)


def npz(folder: Path) -> str:
    np.savez(folder / "a.npz", x=pixels() / 255, y=np.arange(24) % 3, x_train=pixels(9), y_train=np.arange(9) % 3)
    return str(folder / "a.npz")


def by_columns(folder: Path) -> str:
    np.savez(folder / "b.npz", x=np.asfortranarray(pixels().transpose(0, 2, 3, 1)), y=np.arange(24) % 3)
    return str(folder / "b.npz")


def class_folders(folder: Path) -> str:
    for index, image in enumerate(pixels()):
        place = folder / "classes" / ("train" if index % 4 == 0 else "val") / "abc"[index % 3]
        place.mkdir(parents=True, exist_ok=True)
        grey = index == 5
        Image.fromarray(image[0] if grey else image.transpose(1, 2, 0)).save(place / f"{index}.png")
    return str(folder / "classes")


FORMS = {"npz": npz, "by columns": by_columns, "class folders": class_folders}


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("IBROBUST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def nothing_held(monkeypatch, cache):
    monkeypatch.setattr(interface, "HELD_BYTES", 0)
    monkeypatch.setattr(fingerprints, "_BLOCK_BYTES", 200)


@pytest.mark.parametrize("form", FORMS)
def test_stored_images_are_those_in_memory(tmp_path, form, monkeypatch, cache):
    name = FORMS[form](tmp_path)
    whole = load_dataset(name)
    monkeypatch.setattr(interface, "HELD_BYTES", 0)
    monkeypatch.setattr(fingerprints, "_BLOCK_BYTES", 200)
    stored = load_dataset(name)
    assert (type(whole.test), type(stored.test)) == (Split, StoredSplit)
    assert (stored.fingerprint, stored.card, stored.shape) == (whole.fingerprint, whole.card, whole.shape)
    rows = torch.tensor([7, 0, 11, 0])
    for ours, theirs in ((stored.test, whole.test), (pickle.loads(pickle.dumps(stored.test)), whole.test)):
        for some in (slice(None), slice(2, 9, 3), slice(0, 0), rows):
            assert torch.equal(ours[some].x, theirs[some].x)
            assert torch.equal(ours[some].y, theirs[some].y)
    assert torch.equal(stored.train[:].x, whole.train[:].x)
    with pytest.raises(IndexError):
        stored.test.x[torch.tensor([len(stored.test)])]


def test_what_is_sent_to_a_worker_holds_no_image(tmp_path, nothing_held):
    assert len(pickle.dumps(load_dataset(npz(tmp_path)).test.x)) < pixels().nbytes


@pytest.mark.parametrize("form", ["npz", "class folders"])
def test_an_evaluation_gives_the_same_rows(tmp_path, form, cache, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    name = FORMS[form](tmp_path)
    answers = []
    for held in (interface.HELD_BYTES, 0):
        monkeypatch.setattr(interface, "HELD_BYTES", held)
        subject = foreign_subject(f"{tmp_path}/net.py:ready", name, data_dir=None, download=False)
        settings = make_settings({"eps": "0.02,0.1", "attacks": "fgsm"})
        path, _ = evaluate_subject(subject, (2, 11), settings, Execution(), out=tmp_path / str(held))
        answers.append(path.read_bytes())
    assert answers[0] == answers[1]


def test_a_fingerprint_is_remembered_until_a_file_changes(tmp_path, nothing_held, cache, monkeypatch):
    monkeypatch.setattr(fingerprints, "_SETTLED", -10.0)
    file = Path(npz(tmp_path))
    first = load_dataset(str(file)).fingerprint
    (kept,) = (cache / "fingerprints").iterdir()
    kept.write_text(kept.read_text().replace(first, "0" * 64))
    assert load_dataset(str(file)).fingerprint == "0" * 64, "it was computed again"
    for broken in ("", "{}", "[1]", '{"fingerprint": 7}', '{"fingerprint": "../x"}'):
        kept.write_text(broken)
        assert load_dataset(str(file)).fingerprint == first
    kept.write_text('{"fingerprint": "%s"}' % ("0" * 64))
    os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns + 1))
    assert load_dataset(str(file)).fingerprint == first


def test_a_file_that_was_written_a_moment_ago_is_not_trusted(tmp_path, nothing_held, cache):
    load_dataset(npz(tmp_path))
    assert not cache.exists()


@pytest.mark.parametrize("place", ["file", "no home"])
def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, nothing_held, monkeypatch, place):
    monkeypatch.setattr(fingerprints, "_SETTLED", -10.0)
    expected = load_dataset(npz(tmp_path)).fingerprint
    if place == "file":
        (tmp_path / "busy").write_text("")
        monkeypatch.setenv("IBROBUST_CACHE", str(tmp_path / "busy"))
    else:
        monkeypatch.delenv("IBROBUST_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert load_dataset(npz(tmp_path)).fingerprint == expected


def test_training_on_stored_images_gives_the_same_weights(tmp_path, monkeypatch, cache):
    name, weights = npz(tmp_path), []
    recipe = Recipe(data=name, model="mlp", latent=2, epochs=1, batch_size=4)
    for held in (interface.HELD_BYTES, 0):
        monkeypatch.setattr(interface, "HELD_BYTES", held)
        trained = train(recipe, load_dataset(name))
        weights.append(torch.cat([tensor.flatten().float() for tensor in trained.model.state_dict().values()]))
    assert torch.equal(*weights)


def test_a_damaged_member_that_stays_in_its_file_is_found(tmp_path, nothing_held):
    file = Path(npz(tmp_path))
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.npz': x is cut off or damaged"):
        load_dataset(str(file))


@pytest.mark.parametrize("spoil", [lambda image: b"", lambda image: image[: len(image) // 2]])
def test_a_broken_image_is_found_before_anything_is_asked(tmp_path, nothing_held, spoil):
    folder = Path(class_folders(tmp_path))
    broken = folder / "val" / "b" / "13.png"
    broken.write_bytes(spoil(broken.read_bytes()))
    with pytest.raises(BadInput, match=r"val/b/13\.png' is not an image that can be read") as error:
        load_dataset(str(folder))
    assert "\n" not in str(error.value)


def test_a_file_that_changes_meanwhile_is_named(tmp_path, nothing_held):
    data = load_dataset(class_folders(tmp_path))
    for file in (tmp_path / "classes" / "val").glob("*/*.png"):
        Image.new("RGB", (9, 9)).save(file)
    with pytest.raises(BadInput, match="was changed while it was read"):
        data.test[:1]
    data = load_dataset(npz(tmp_path))
    (tmp_path / "a.npz").write_bytes(b"short")
    with pytest.raises(BadInput, match="x was changed while it was read"):
        data.test[:1]
