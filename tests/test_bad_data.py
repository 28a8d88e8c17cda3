"""Data that cannot be used is refused in one line that names the file and the place, whatever its form."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ibrobust.datasets import load_dataset
from ibrobust.errors import BadInput
from tests.refusals import refused


def png(size: tuple[int, int] = (6, 5)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "PNG")
    return stream.getvalue()


def folders(folder: Path, **images: bytes) -> str:
    for index, (name, content) in enumerate(images.items()):
        (folder / "abc"[index % 3]).mkdir(exist_ok=True)
        (folder / "abc"[index % 3] / f"{name}.png").write_bytes(content)
    return str(folder)


def parquet(folder: Path, *, image: object = None, **columns: list) -> str:
    pq.write_table(pa.table({"image": image or [png()] * 3, **columns}), folder / "a.parquet")
    return f"{folder}/a.parquet"


def lists(folder: Path, text: str, name: str = "metadata.csv") -> str:
    (folder / "0.png").write_bytes(png())
    (folder / name).write_text(text)
    return str(folder)


def pair(folder: Path, x: np.ndarray, y: np.ndarray) -> str:
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return f"{folder}/x.npy,{folder}/y.npy"


def corrupted(folder: Path, y: np.ndarray, name: str = "fog:3", **corruptions: tuple[int, ...]) -> str:
    for corruption, shape in corruptions.items():
        np.save(folder / f"{corruption}.npy", np.zeros(shape, np.uint8))
    np.save(folder / "labels.npy", y)
    return f"{folder}:{name}" if name else str(folder)


def python(folder: Path, body: str, name: str = "make") -> str:
    (folder / "data.py").write_text(f"import torch\nfrom torch.utils.data import *\nX, Y = torch.rand(4, 1, 2, 2), "
                                    f"torch.arange(4)\n{body}\n")  # fmt: skip
    return f"{folder}/data.py:{name}"


IMAGES, LABELS = np.zeros((10, 6, 5, 3), np.uint8), np.arange(10) % 3
CASES = {
    "nothing": (lambda at: f"{at}/no.such", "no data set .* or write .*FILE.npz.*FILE.py:FACTORY"),
    "missing parquet": (lambda at: f"{at}/a.parquet", r"a\.parquet' is not there"),
    "missing npy": (lambda at: f"{at}/x.npy,{at}/y.npy", r"x\.npy' is not there"),
    "one npy": (lambda at: f"{at}/x.npy", r"write two files, IMAGES\.npy,LABELS\.npy"),
    "broken image": (lambda at: folders(at, one=png(), two=b"no"), r"b/two\.png' is not an image"),
    "cut image": (lambda at: folders(at, one=png(), two=png()[:45]), r"b/two\.png' is not an image"),
    "sizes": (lambda at: folders(at, one=png(), two=png((5, 6))), "differ in size.*--resize, --crop"),
    "parquet of text": (lambda at: parquet(at, image=["a", "b", "c"], label=[0, 1, 2]), "no column of encoded images"),
    "two images": (lambda at: parquet(at, other=[png()] * 3, label=[0, 1, 2]), "several columns .*image, other"),
    "no label": (lambda at: parquet(at, kind=[0, 1, 2]), "no column that is certainly .*--label-column.*kind"),
    "two labels": (lambda at: parquet(at, label=[0, 1, 2], target=[0, 1, 2]), "no column that is certainly"),
    "null label": (lambda at: parquet(at, label=[0, None, 2]), "label of row 1 is None"),
    "float label": (lambda at: parquet(at, label=[0.5, 1.0, 2.0]), "label of row 0 is 0.5"),
    "negative": (lambda at: parquet(at, label=[0, -1, 2]), "holds labels from -1 to 2"),
    "image in a row": (lambda at: parquet(at, image=[png(), b"no", png()], label=[0, 1, 2]), "row 1' is not an image"),
    "path": (lambda at: parquet(at, image=[{"bytes": None, "path": "a.png"}] * 3, label=[0, 1, 2]), "have to be embed"),
    "damaged": (lambda at: (Path(parquet(at, label=[1, 2, 0])).write_bytes(b"PAR1x"), f"{at}/a.parquet")[1],
                r"a\.parquet' cannot be read"),
    "list without column": (lambda at: lists(at, "file_name,kind\n0.png,cat\n"), "needs the columns file_name and lab"),
    "list of a missing file": (lambda at: lists(at, "file_name,label\n1.png,cat\n"), "'1.png', which is no file bes"),
    "list beyond": (lambda at: lists(at, "file_name,label\n../0.png,cat\n"), "'../0.png', which is no file beside it"),
    "empty list": (lambda at: lists(at, ""), r"metadata\.csv' lists no images"),
    "bad json": (lambda at: lists(at, "{\n", "metadata.jsonl"), r"metadata\.jsonl' cannot be read"),
    "label missing": (lambda at: lists(at, "file_name,label\n0.png,\n"), "entry 1 has file_name '0.png' and label ''"),
    "count": (lambda at: pair(at, IMAGES, LABELS[:9]), r"y\.npy' has shape \(9,\).* each of the 10 samples of x\.npy"),
    "floats": (lambda at: pair(at, IMAGES, LABELS / 2), r"y\.npy' holds float64; write class numbers"),
    "range": (lambda at: pair(at, IMAGES + 2.0, LABELS), r"x\.npy' holds pixels outside \[0, 1\]"),
    "objects": (lambda at: pair(at, np.array([None] * 3), LABELS), r"x\.npy' holds Python objects"),
    "corruption": (lambda at: corrupted(at, np.tile(LABELS, 5), "fig:3", fog=(50, 6, 4, 3)), "no corruption 'fig'"),
    "severity": (lambda at: corrupted(at, np.tile(LABELS, 5), "fog:6", fog=(50, 6, 4, 3)), "severity '6'.*from 1 to 5"),
    "five times": (lambda at: corrupted(at, np.arange(50) % 7, fog=(50, 6, 4, 3)), "another label at severity 2"),
    "not five": (lambda at: corrupted(at, LABELS[:9], fog=(9, 6, 4, 3)), "holds 9 labels; there is one for each"),
    "no file": (lambda at: f"{at}/data.py:make", r"there is no file '.*data\.py'"),
    "no factory": (lambda at: python(at, ""), "no function 'make' in the file"),
    "raises": (lambda at: python(at, "def make(): 1 / 0"), r"make\(\) raised ZeroDivisionError"),
    "another type": (lambda at: python(at, "def make(): return 7"), "of type int; it has to be a torch Dataset"),
    "shuffled": (lambda at: python(at, "def make(): return DataLoader(TensorDataset(X, Y), shuffle=True)"),
                 "shuffle=False"),
    "random": (lambda at: python(at, "class D(Dataset):\n def __len__(self): return 4\n def __getitem__(self, i): "
                                     "return torch.rand(1, 2, 2), 0\nmake = D"), "another image each time"),
    "normalised": (lambda at: python(at, "def make(): return TensorDataset(X - 1, Y)"), "leave Normalize out"),
    "labels": (lambda at: python(at, "def make(): return TensorDataset(X, Y / 2)"), "write a class number for each"),
    "item raises": (lambda at: python(at, "class D(Dataset):\n def __len__(self): return 4\n def __getitem__(self, i): "
                                          "raise KeyError('gone')\nmake = D"), "cannot be read: KeyError: 'gone'"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_line_names_what_is_wrong(tmp_path, case):
    make, words = CASES[case]
    with pytest.raises(BadInput, match=words) as error:
        load_dataset(make(tmp_path))
    assert "\n" not in str(error.value)


OPTIONS = {
    ("resize", "big"): r"resize 'big': write pixels, as 224 or 224x192 .* with :bicubic",
    ("resize", "8:cubic"): "resize '8:cubic': no filter 'cubic'; choose from bilinear, bicubic",
    ("resize", 0): "resize '0': write pixels",
    ("crop", "7x"): "crop '7x': write pixels",
    ("crop", "7"): r"pixels, which is smaller than crop 7 × 7; resize it",
    ("label_column", "x"): "label_column 'x' is for tables; data .* is not of that kind",
    ("layout", "nhwc"): "layout 'nhwc' is for arrays of images; data .* is not of that kind",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options_that_cannot_be_used(tmp_path, option):
    with pytest.raises(BadInput, match=OPTIONS[option]):
        load_dataset(folders(tmp_path, one=png(), two=png()), **dict([option]))


def test_a_class_that_the_data_does_not_know(tmp_path):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    told = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    for labels, words in (
        (["cat", "zebra", "dog"], "label 'zebra' is none of its classes, cat, dog"),
        ([0, 2, 1], "holds labels from 0 to 2; it has 2 classes"),
    ):
        table = pa.table({"image": [{"bytes": png(), "path": None}] * 3, "label": labels})
        pq.write_table(table.replace_schema_metadata(told), tmp_path / "a.parquet")
        with pytest.raises(BadInput, match=words):
            load_dataset(f"{tmp_path}/a.parquet")


def test_saved_data_that_is_a_selection_or_lacks_files(tmp_path):
    for state, words in (
        ({"_data_files": [{"filename": "../a.arrow"}]}, r"a\.arrow' is not there"),
        ({"_data_files": [], "_indices_files": [{"filename": "i.arrow"}]}, r"flatten_indices\(\)"),
        ({"_data_files": []}, "names no files of data"),
        ({}, "cannot be read"),
        ([], "is no JSON object"),
    ):
        (tmp_path / "state.json").write_text(json.dumps(state))
        (tmp_path / "dataset_info.json").write_text('{"features": {}}')
        with pytest.raises(BadInput, match=words):
            load_dataset(str(tmp_path))


def test_a_command_says_it_in_one_line_with_exit_code_2(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    folders(tmp_path / "photos", one=png(), two=b"no")
    for flags, words in (
        (["--data", "photos"], "two.png' is not an image"),
        (["--data", "photos", "--resize", "x"], "--resize 'x': write pixels"),
        (["--data", "photos", "--label-column", "x"], "--label-column 'x' is for tables"),
    ):
        refused(tmp_path, capsys, monkeypatch, ["evaluate", "--model", "net.py:make", *flags], [words])
    for command in ("audit", "certify", "information"):
        asked = [command, "--model", "net.py:make", "--data", "photos"]
        refused(tmp_path, capsys, monkeypatch, asked, ["two.png' is not an image"])
    refused(tmp_path, capsys, monkeypatch, ["train", "--data", "photos"], ["two.png' is not an image"])
