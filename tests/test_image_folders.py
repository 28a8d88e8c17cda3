"""Class folders: every image has the label of its folder, in any form that such folders take."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ibrobust.datasets import Dataset, load_dataset
from ibrobust.datasets.samples import SPREAD, lacking_classes, spread_over_classes
from ibrobust.errors import BadInput
from ibrobust.robustness.storage import load_results
from ibrobust.subjects.zoo import find_runs
from tests.refusals import exit_of


def write(
    folder: Path, names: list[str], copies: int = 2, kind: str = "L", shades: dict[str, int] | None = None
) -> Path:
    """Class folders of 6 × 5 images; class k of the names is grey 20 k, and copies differ in their first pixel."""
    for index, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for copy in range(copies):
            pixels = np.full((5, 6), 20 * (shades or {}).get(name, index), np.uint8)
            pixels[0, 0] = copy
            Image.fromarray(pixels).convert(kind).save(folder / name / f"{copy}.png")
    return folder


def shades(data: Dataset, part: str = "test") -> dict[int, list[int]]:
    """Label → shades of its images, as classes are numbered in `write`."""
    split = getattr(data, part)
    greys = {int(label): split.x[split.y == label][:, 0, -1, -1] for label in split.y.unique()}
    return {label: sorted({int(grey) // 20 for grey in values}) for label, values in greys.items()}


def refused(folder: Path, words: str) -> str:
    with pytest.raises(BadInput, match=words) as error:
        load_dataset(str(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_class_folders_with_and_without_parts(tmp_path):
    for part in ("train", "test"):
        write(tmp_path / part, ["cat", "dog"], kind="RGB")
    both, alone = load_dataset(str(tmp_path)), load_dataset(str(tmp_path / "test"))
    assert (len(both.train), len(both.test), both.shape, both.classes) == (4, 4, (3, 5, 6), 2)
    assert shades(both) == shades(both, "train") == shades(alone) == {0: [0], 1: [1]}
    assert len(alone.train) == 0
    assert torch.equal(alone.test.x, both.test.x)
    assert both.card | {"name": "", "fingerprint": ""} == {
        "name": "", "fingerprint": "", "classes": ["cat", "dog"], "order": SPREAD, "test_part": "test",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "test_part"),
    [(["train", "val"], "val"), (["train", "validation"], "validation"), (["Train", "Valid"], "Valid"),
     (["train", "validation", "test"], "test"), (["training", "testing"], "testing"), (["val", "test"], "test")],
)  # fmt: skip
def test_parts_by_any_of_their_usual_names(tmp_path, parts, test_part):
    for copies, part in enumerate(parts, 1):
        write(tmp_path / part, ["cat", "dog"], copies)
    data = load_dataset(str(tmp_path))
    assert len(data.test) == 2 * (1 + parts.index(test_part))
    assert len(data.train) == (2 if parts[0].lower().startswith("train") else 0)
    assert data.card["test_part"] == test_part


def test_a_test_part_without_labels_gives_way_to_the_validation_part(tmp_path):
    for part in ("train", "val"):
        write(tmp_path / part, ["cat", "dog"])
    (tmp_path / "test").mkdir()
    Image.new("L", (6, 5)).save(tmp_path / "test" / "0.png")
    assert load_dataset(str(tmp_path)).card["test_part"] == "val"
    (tmp_path / "train").rename(tmp_path / "unused")
    (tmp_path / "val").rename(tmp_path / "train")
    refused(tmp_path, "'.*test' holds no class folders")


def test_classes_keep_their_numbers_where_a_part_lacks_one(tmp_path):
    every = {name: index for index, name in enumerate("abcdef")}
    write(tmp_path / "train", [*"abcef"], shades=every)
    write(tmp_path / "val", [*"bf"], shades=every)
    write(tmp_path / "test", [*"acf"], shades=every)
    (tmp_path / "test" / "d").mkdir()
    data = load_dataset(str(tmp_path))
    assert data.class_names == tuple("abcdef")
    assert shades(data, "train") == {0: [0], 1: [1], 2: [2], 4: [4], 5: [5]}
    assert shades(data) == {0: [0], 2: [2], 5: [5]}
    assert data.classes == 6


def test_parts_that_share_no_class_are_refused(tmp_path):
    write(tmp_path / "train", ["n01", "n02"])
    write(tmp_path / "val", ["images"])
    refused(tmp_path, "'val' and 'train' have no class in common")


def test_classes_named_by_numbers_are_in_their_order(tmp_path):
    write(tmp_path / "digits", [str(number) for number in range(11)])
    assert shades(load_dataset(str(tmp_path / "digits"))) == {number: [number] for number in range(11)}
    write(tmp_path / "padded", ["08", "9", "10"])
    assert load_dataset(str(tmp_path / "padded")).class_names == ("08", "9", "10")
    write(tmp_path / "from one", ["1", "2", "3"])
    assert load_dataset(str(tmp_path / "from one")).test.y.unique().tolist() == [0, 1, 2]


def test_a_number_that_is_missing_does_not_shift_the_others(tmp_path):
    write(tmp_path, ["0", "1", "3"])
    refused(tmp_path, "2 is missing; make an empty folder 2")
    (tmp_path / "2").mkdir()
    assert load_dataset(str(tmp_path)).test.y.unique().tolist() == [0, 1, 3]


@pytest.mark.parametrize(("one", "other"), [("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("1", "01")])
def test_names_that_differ_in_case_or_spelling_are_refused(tmp_path, one, other):
    write(tmp_path / "train", [one])
    write(tmp_path / "test", [other])
    refused(tmp_path, "differ in case or spelling alone")


def test_a_list_of_labels_is_no_image_and_has_to_agree(tmp_path):
    write(tmp_path, ["cat", "dog"])
    for text in ("cat\ndog\n", "0 cat\n1 dog\n", "0.png 1\n1.png 0\n", "", "\udcff\n"):
        (tmp_path / "labels.txt").write_text(text, encoding="utf-8", errors="surrogateescape")
        assert shades(load_dataset(str(tmp_path))) == {0: [0], 1: [1]}
    write(tmp_path / "parts" / "train", ["cat", "dog"])
    write(tmp_path / "parts" / "test", ["cat", "dog"])
    (tmp_path / "parts" / "train" / "classes.txt").write_text("dog\ncat\n")
    refused(tmp_path / "parts", r"train/classes\.txt' names 'dog' as class 0")
    (tmp_path / "parts").rename(tmp_path.with_name("elsewhere"))
    (tmp_path / "labels.txt").write_text("dog\ncat\n")
    refused(tmp_path, r"labels\.txt' names 'dog' as class 0, but by the folders' names 'cat' is")


@pytest.mark.parametrize("place", ["", "cat"])
def test_files_beside_images_are_left_alone(tmp_path, place):
    write(tmp_path, ["cat", "dog"])
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "labels.txt", "boxes.csv", "README", ".hidden.png"):
        (tmp_path / place / name).write_bytes(b"\0\1")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / ".git" / "objects").mkdir(parents=True)
    data = load_dataset(str(tmp_path))
    assert (len(data.test), data.class_names) == (4, ("cat", "dog"))


def test_what_cannot_be_a_class_is_refused_by_name(tmp_path):
    def fresh(name: str) -> Path:
        return write(tmp_path / name, ["cat", "dog"])

    (fresh("nested") / "dog" / "small").mkdir()
    refused(tmp_path / "nested", "dog' holds a folder 'small'")
    (fresh("notes") / "annotations").mkdir()
    (tmp_path / "notes" / "annotations" / "0.xml").touch()
    refused(tmp_path / "notes", "annotations' holds files but no image")
    (fresh("link") / "dog" / "9.png").symlink_to("nowhere")
    refused(tmp_path / "link", "9.png' is not a file that can be read")
    os.mkfifo(fresh("pipe") / "dog" / "9.png")
    refused(tmp_path / "pipe", "9.png' is not a file that can be read")
    (fresh("unknown") / "dog" / "9.raw").write_bytes(b"raw")
    refused(tmp_path / "unknown", "9.raw' is not an image that can be read")
    write(tmp_path / "alone" / "train", ["cat"])
    refused(tmp_path / "alone", "holds 'train' alone; add one of test")
    os.mkdir(os.fsencode(fresh("latin")) + b"/caf\xe9")
    refused(tmp_path / "latin", "is not UTF-8")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty' holds no class folders with images")


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path, ["cat", "dog"])

    def iterdir(folder: Path) -> object:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", iterdir)
    refused(tmp_path, "cannot be read: Permission denied")


def test_the_first_samples_are_spread_over_the_classes(tmp_path):
    write(tmp_path / "even", [str(number) for number in range(10)], copies=7)
    y = load_dataset(str(tmp_path / "even")).test.y
    for count in range(0, 70, 10):
        assert torch.bincount(y[count : count + 10]).tolist() == [1] * 10
    assert y[:10].tolist() != y[10:20].tolist()


def test_every_beginning_holds_each_class_by_its_share():
    sizes = np.array([400, 300, 200, 90, 10])
    y = np.repeat(np.arange(5), sizes)
    order = spread_over_classes(y)
    assert sorted(order) == list(range(1000))
    for count in range(1, 1001):
        there = np.bincount(y[order[:count]], minlength=5)
        assert np.abs(there - count * sizes / 1000).max() <= 1
    assert [int(index) for index in order[:4]] == [int(index) for index in spread_over_classes(y)[:4]]


def test_a_sorted_beginning_is_seen():
    y = np.repeat(np.arange(4), [50, 50, 50, 2])
    assert lacking_classes(y, 0, 60) == [2]
    assert lacking_classes(y, 0, 20) == []
    assert lacking_classes(y, 60, 140) == [0]
    assert lacking_classes(y[spread_over_classes(y)], 0, 60) == []


def test_the_commands_name_classes_and_order_and_warn_of_sorted_data(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part in ("train", "val"):
        write(tmp_path / "folders" / part, ["cat", "dog", "owl"], copies=20)
    recipe = ("--epochs", "1", "--latent", "2", "--train-samples", "30")
    code, words = exit_of(capsys, monkeypatch, "train", "--data", "folders", *recipe)
    assert (code, "the data is sorted" in words) == (None, False), words
    (run,) = find_runs([tmp_path / "runs"])
    assert (run.card.class_names, run.card.sample_order) == (("cat", "dog", "owl"), SPREAD)
    code, words = exit_of(capsys, monkeypatch, "evaluate", "--eps", "0.01", "--samples", "30", "--out", "spread")
    assert (code, "the data is sorted" in words) == (None, False), words
    (stored,) = (tmp_path / "spread" / "paper").glob("*.parquet")
    results = load_results(stored)
    written = json.loads(pq.read_schema(stored).metadata[b"ibrobust"])["data"]
    assert written == load_dataset("folders").card
    assert (written["classes"], written["order"], written["test_part"]) == (["cat", "dog", "owl"], SPREAD, "val")
    assert results.rows["label"].value_counts().tolist() == [10, 10, 10]

    data = load_dataset("folders")
    order = data.test.y.argsort()
    x, y = data.test.x[order].numpy(), data.test.y[order].numpy()
    np.savez("sorted.npz", x=x, y=y, x_train=x, y_train=y)
    code, words = exit_of(capsys, monkeypatch, "train", "--data", "sorted.npz", "--runs", "other", *recipe)
    assert "no training sample from 0 up to 30 is of class 2: the data is sorted" in words
    code, words = exit_of(capsys, monkeypatch, "evaluate", "other", "--eps", "0.01", "--samples", "30", "--out", "npz")
    assert "no test sample from 0 up to 30 is of class 2: the data is sorted" in words
    (stored,) = (tmp_path / "npz" / "paper").glob("*.parquet")
    assert sorted(json.loads(pq.read_schema(stored).metadata[b"ibrobust"])["data"]) == ["fingerprint", "name"]
