"""Every form in which people keep images gives exactly the images and labels that it holds."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from ibrobust.datasets import FORMS, interface, load_dataset

IMAGES = np.random.RandomState(1).randint(0, 256, (20, 6, 5, 3)).astype(np.uint8)
LABELS = np.arange(20) * 7 % 3
X = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())
NAMES = ("cat", "dog", "owl")
FEATURES = {"image": {"_type": "Image"}, "label": {"names": list(NAMES), "_type": "ClassLabel"}}


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def table(rows: slice = slice(None), *, told: bool = True, names: bool = False, struct: bool = True) -> pa.Table:
    cells = [{"bytes": png(image), "path": None} if struct else png(image) for image in IMAGES[rows]]
    labels = [NAMES[label] for label in LABELS[rows]] if names else LABELS[rows].tolist()
    made = pa.table({"image": cells, "label": labels})
    metadata = {b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()}
    return made.replace_schema_metadata(metadata) if told else made


def parquet_file(folder: Path) -> str:
    pq.write_table(table(told=False, struct=False), folder / "a.parquet", row_group_size=6)
    return f"{folder}/a.parquet"


def parquet_folder(folder: Path) -> str:
    (folder / "hub" / "data").mkdir(parents=True)
    pq.write_table(table(slice(0, 4)), folder / "hub" / "data" / "train-00000-of-00001.parquet")
    pq.write_table(table(slice(0, 9)), folder / "hub" / "data" / "test-00000-of-00002.parquet", row_group_size=4)
    pq.write_table(table(slice(9, 20)), folder / "hub" / "data" / "test-00001-of-00002.parquet")
    return f"{folder}/hub"


def arrow(folder: Path, rows: slice) -> None:
    folder.mkdir(parents=True)
    made = table(rows, told=False)
    file = str(folder / "data-00000-of-00001.arrow")
    with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made, max_chunksize=3)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def saved(folder: Path) -> str:
    arrow(folder / "saved", slice(None))
    return f"{folder}/saved"


def saved_parts(folder: Path) -> str:
    arrow(folder / "dict" / "train", slice(0, 4))
    arrow(folder / "dict" / "test", slice(None))
    (folder / "dict" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return f"{folder}/dict"


def listed(folder: Path, suffix: str = "csv") -> str:
    place = folder / "listed" / "test"
    place.mkdir(parents=True)
    rows = [{"file_name": f"{index}.png", "label": NAMES[label]} for index, label in enumerate(LABELS)]
    for index, image in enumerate(IMAGES):
        Image.fromarray(image).save(place / f"{index}.png")
    with (place / f"metadata.{suffix}").open("w", newline="") as stream:
        if suffix == "csv":
            writer = csv.DictWriter(stream, ["file_name", "label"])
            writer.writeheader()
            writer.writerows(rows)
        else:
            stream.writelines(f"{json.dumps(row)}\n" for row in rows)
    return f"{folder}/listed"


def npy_pair(folder: Path) -> str:
    np.save(folder / "images.npy", IMAGES)
    np.save(folder / "labels.npy", LABELS)
    return f"{folder}/images.npy,{folder}/labels.npy"


def corrupted(folder: Path) -> str:
    (folder / "c").mkdir()
    dark = [(IMAGES * factor).astype(np.uint8) for factor in (0.1, 0.3, 1, 0.5, 0.7)]
    np.save(folder / "c" / "fog.npy", np.concatenate(dark))
    np.save(folder / "c" / "labels.npy", np.tile(LABELS, 5))
    return f"{folder}/c:fog:3"


FACTORIES = """
import numpy as np, torch, io
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
here = __file__.rpartition("/")[0]
X = torch.from_numpy(np.load(here + "/images.npy")).permute(0, 3, 1, 2)
Y = torch.from_numpy(np.load(here + "/labels.npy"))
class Pictures(Dataset):
    def __len__(self): return len(X)
    def __getitem__(self, index): return Image.fromarray(X[index].permute(1, 2, 0).numpy()), int(Y[index])
class Mapped(Pictures):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return {"image": image, "label": label}
class Stream(IterableDataset):
    def __iter__(self): return iter(zip(X, Y))
def tensors(): return TensorDataset(X, Y)
def loader(): return DataLoader(tensors(), batch_size=7)
def pictures(): return Pictures()
def mapped(): return Mapped()
def stream(): return DataLoader(Stream(), batch_size=3)
def arrays(): return X.numpy(), Y.numpy()
def parts(): return {"train": tensors(), "test": pictures()}
def pair(): return pictures(), loader()
"""


def factory(folder: Path, name: str) -> str:
    npy_pair(folder)
    (folder / "data.py").write_text(FACTORIES)
    return f"{folder}/data.py:{name}"


MADE = {
    "parquet file": parquet_file, "parquet folder": parquet_folder, "saved": saved, "saved parts": saved_parts,
    "listed csv": listed, "listed jsonl": lambda folder: listed(folder, "jsonl"), "npy": npy_pair,
    "corrupted": corrupted,
    **{
        f"python {name}": lambda folder, name=name: factory(folder, name)
        for name in ("tensors", "loader", "pictures", "mapped", "stream", "arrays", "parts", "pair")
    },
}  # fmt: skip


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("form", MADE)
def test_a_form_gives_what_it_holds(tmp_path, form, held, monkeypatch):
    monkeypatch.setenv("IBROBUST_CACHE", str(tmp_path / "cache"))
    if not held:
        monkeypatch.setattr(interface, "HELD_BYTES", 0)
    data = load_dataset(MADE[form](tmp_path))
    assert torch.equal(data.test[:].x, X)
    assert data.test.y.tolist() == LABELS.tolist()
    some = torch.tensor([19, 0, 8, 8])
    assert torch.equal(data.test[some].x, X[some])
    assert data.class_names == (NAMES if form.split()[0] in ("saved", "listed") or form == "parquet folder" else ())
    trained = {"parquet folder": 4, "saved parts": 4, "python parts": 20, "python pair": 20}
    assert len(data.train) == trained.get(form, 0)
    assert torch.equal(data.train[:].x, X[: len(data.train)])


def test_every_form_has_an_example_and_is_made_here():
    assert {form.split()[0] for form in MADE} | {"class-folders", "npz", "corrupted-folders"} >= {
        name.replace("listed-folders", "listed") for name in FORMS
    }
    assert all(form.example and form.holds for form in FORMS.values())


def shaped(size: tuple[int, int], index: int) -> Image.Image:
    return Image.fromarray(np.random.RandomState(index).randint(0, 256, (*size, 3)).astype(np.uint8))


RESIZED = {
    ("8", "6"): v2.Compose([v2.Resize(8), v2.CenterCrop(6)]),
    ("7x9", None): v2.Resize((7, 9)),
    (9, "6x7"): v2.Compose([v2.Resize(9), v2.CenterCrop((6, 7))]),
    ("8:bicubic", 5): v2.Compose([v2.Resize(8, v2.InterpolationMode.BICUBIC), v2.CenterCrop(5)]),
    (None, "5x6"): v2.CenterCrop((5, 6)),
}


@pytest.mark.parametrize(("resize", "crop"), RESIZED)
def test_images_of_all_sizes_are_shaped_as_torchvision_does(tmp_path, resize, crop):
    sizes = [(6, 9), (12, 7), (30, 31), (8, 8), (17, 40)]
    for index, size in enumerate(sizes):
        (tmp_path / "photos" / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        shaped(size, index).save(tmp_path / "photos" / "ab"[index % 2] / f"{index}.png")
    data = load_dataset(f"{tmp_path}/photos", resize=resize, crop=crop)
    expected = [
        v2.functional.pil_to_tensor(RESIZED[resize, crop](shaped(size, index))) for index, size in enumerate(sizes)
    ]
    assert sorted(image.numpy().tobytes() for image in data.test.x) == sorted(x.numpy().tobytes() for x in expected)
    words = data.card["transform"]
    assert ("resize" in words, "crop" in words, "bicubic" in words) == (
        bool(resize),
        bool(crop),
        "bicubic" in str(resize),
    )
    other = load_dataset(f"{tmp_path}/photos", resize="11x10")
    assert other.fingerprint != data.fingerprint


def test_python_takes_a_data_set_in_place_of_two_arrays():
    import ibrobust

    x, y = X.float() / 255, torch.from_numpy(LABELS)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(90, 3))
    asked = {"eps": "0.05", "attacks": "fgsm", "health": "ignore"}
    expected = ibrobust.breaking_radii(model, x, y, **asked)
    whole = torch.utils.data.TensorDataset(x, y)
    for given in (whole, torch.utils.data.DataLoader(whole, batch_size=3)):
        assert ibrobust.breaking_radii(model, given, **asked).rows.equals(expected.rows)


def test_a_deep_image_is_scaled_as_it_is_resized(tmp_path):
    (tmp_path / "deep" / "a").mkdir(parents=True)
    values = (np.arange(48, dtype=np.uint16) * 1365).reshape(6, 8)
    Image.fromarray(values).save(tmp_path / "deep" / "a" / "0.png")
    got: Tensor = load_dataset(f"{tmp_path}/deep", resize="3x4:bicubic").test.x
    exact = torch.from_numpy(values.astype(np.float32) / 65535)[None]
    expected = v2.functional.resize(exact, [3, 4], v2.InterpolationMode.BICUBIC).clamp(0, 1)
    assert torch.equal(got[0], expected)


def test_a_folder_is_not_what_lies_in_the_current_folder(tmp_path, monkeypatch):
    corrupted(tmp_path)
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.fromarray(IMAGES[0]).save(tmp_path / "photos" / "a" / "0.png")
    monkeypatch.chdir(tmp_path / "c")
    (tmp_path / "photos").rename(tmp_path / "c" / "photos")
    assert load_dataset("photos").class_names == ("a",)
    assert torch.equal(load_dataset(".:fog:3").test[:].x, X)
