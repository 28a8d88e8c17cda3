"""An `.npz` file is read as the arrays that it holds, in the layout that they have, or refused in one line."""

import io
import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ibrobust.datasets import load_dataset
from ibrobust.errors import BadInput
from ibrobust.subjects.zoo import find_runs
from tests.refusals import exit_of

KNOWN = [
    ((1, 28, 28), "nchw"), ((28, 28, 1), "nhwc"), ((3, 32, 32), "nchw"), ((32, 32, 3), "nhwc"), ((8, 9, 3), "nhwc"),
    ((2, 16, 9), "nchw"), ((16, 9, 2), "nhwc"), ((4, 64, 64), "nchw"), ((64, 64, 4), "nhwc"), ((1, 1, 29), "nchw"),
    ((1, 4, 4), "nchw"), ((3, 4, 4), "nchw"), ((3, 1, 1), "nchw"), ((1, 1, 1), "nchw"),
]  # fmt: skip
OPEN = [
    (4, 8, 3), (3, 8, 3), (3, 3, 3), (1, 28, 1), (4, 4, 3), (4, 4, 1), (1, 28, 3), (13, 64, 64), (64, 64, 13),
]  # fmt: skip


def written(folder: Path, **arrays: np.ndarray) -> str:
    np.savez(folder / "mine.npz", **arrays)
    return str(folder / "mine.npz")


def marked(channels: int, height: int, width: int) -> np.ndarray:
    """Three images (N, C, H, W), every pixel of which has another value."""
    return np.arange(3 * channels * height * width).reshape(3, channels, height, width) / 1e6


@pytest.mark.parametrize(("shape", "layout"), KNOWN)
def test_a_shape_that_tells_its_layout_is_read_so(tmp_path, shape, layout):
    stored = np.arange(3 * np.prod(shape)).reshape(3, *shape) / 1e6
    expected = stored.transpose(0, 3, 1, 2) if layout == "nhwc" else stored
    read = load_dataset(written(tmp_path, x=stored, y=np.arange(3)))
    assert torch.equal(read.test.x, torch.from_numpy(expected.astype(np.float32)))
    assert load_dataset(read.name, layout=layout).fingerprint == read.fingerprint


@pytest.mark.parametrize("shape", OPEN)
def test_a_shape_that_can_be_read_both_ways_is_asked_about(tmp_path, shape):
    stored = marked(*shape)
    file = written(tmp_path, x=stored, y=np.arange(3))
    with pytest.raises(BadInput, match=r"x has shape .* layout nchw or nhwc \(--layout"):
        load_dataset(file)
    for layout, expected in (("nchw", stored), ("nhwc", stored.transpose(0, 3, 1, 2))):
        assert torch.equal(load_dataset(file, layout=layout).test.x, torch.from_numpy(expected.astype(np.float32)))


def test_the_two_readings_of_one_file_are_two_data_sets(tmp_path):
    file = written(tmp_path, x=marked(4, 8, 3), y=np.arange(3))
    assert load_dataset(file, layout="nchw").fingerprint != load_dataset(file, layout="nhwc").fingerprint


def test_layouts_of_other_data_and_of_other_names_are_refused():
    with pytest.raises(BadInput, match=r"layout 'nhwc' is for arrays of images; data 'digits'"):
        load_dataset("digits", layout="nhwc")
    with pytest.raises(BadInput, match="no layout 'hwc'; choose from auto, nchw, nhwc"):
        load_dataset("digits", layout="hwc")


def test_parts_of_one_file_may_have_layouts_of_their_own_but_one_shape(tmp_path):
    image = marked(3, 8, 9)
    both = load_dataset(
        written(tmp_path, x=image, y=np.arange(3), x_train=image.transpose(0, 2, 3, 1), y_train=np.ones(3, int))
    )
    assert torch.equal(both.train.x, both.test.x)
    file = written(tmp_path, x=image, y=np.arange(3), x_train=image.transpose(0, 1, 3, 2), y_train=np.arange(3))
    with pytest.raises(BadInput, match=r"\(3, 9, 8\) in x_train and \(3, 8, 9\) in x"):
        load_dataset(file)


@pytest.mark.parametrize("stored", ["<f4", ">f8", "<f2", "u1", ">u1", "F"])
def test_byte_orders_precisions_and_memory_layouts_are_read_to_the_value(tmp_path, stored):
    image = np.random.default_rng(0).integers(0, 2, (5, 3, 8, 9))
    x = np.asfortranarray(image.astype("<f4")) if stored == "F" else image.astype(stored)
    for y in (np.arange(5, dtype=">i2"), np.arange(5, dtype=np.uint64)[:, None]):
        read = load_dataset(written(tmp_path, x=x, y=y)).test
        assert torch.equal(read.x.double(), torch.from_numpy(image).double())
        assert read.y.tolist() == [0, 1, 2, 3, 4]


def member(shape: str = "(3, 1, 2, 2)", kind: str = "<f4", content: bytes = bytes(48)) -> bytes:
    """An `.npy` file with this header, whatever its content."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def archive(file: Path, **members: bytes) -> str:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name.replace("__npy", ".npy"), content)
    return str(file)


Y = member("(3,)", "<i8", bytes(24))
HOSTILE = {
    "a shape of 10^12": ({"x__npy": member("(1000000000000, 3, 32, 32)"), "y__npy": Y}, ["x declares", "holds 48"]),
    "a shape that overflows": ({"x__npy": member("(4611686018427387904, 4, 1, 1)"), "y__npy": Y}, ["x declares"]),
    "negative axes": ({"x__npy": member("(-3, -1, 2, 2)"), "y__npy": Y}, ["x declares"]),
    "too few bytes": ({"x__npy": member(content=bytes(40)), "y__npy": Y}, ["x declares", "holds 40"]),
    "too many bytes": ({"x__npy": member(content=bytes(56)), "y__npy": Y}, ["x declares", "holds 56"]),
    "no header": ({"x__npy": b"hello", "y__npy": Y}, ["x is not an array"]),
    "an empty member": ({"x__npy": b"", "y__npy": Y}, ["x is not an array"]),
    "code as a header": ({"x__npy": member("__import__('os')"), "y__npy": Y}, ["x is not an array"]),
    "a file beside the arrays": ({"x": b"hello", "y__npy": Y}, ["x is not an array but a file"]),
    "no labels": ({"x__npy": member()}, ["no array 'y'", "it has x"]),
    "nothing": ({}, ["no array 'x'", "it has none"]),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_files_that_are_no_arrays_are_refused_in_one_line(tmp_path, case):
    members, named = HOSTILE[case]
    file = archive(tmp_path / "mine.npz", **members)
    with pytest.raises(BadInput) as refused:
        load_dataset(file)
    assert "\n" not in str(refused.value)
    for words in ["mine.npz", *named]:
        assert words in str(refused.value)


def test_a_file_that_unpacks_to_more_than_the_memory_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 2_000_000}.__getitem__)
    file = archive(tmp_path / "mine.npz", x__npy=member("(3, 1, 1000, 1000)", "|u1", bytes(3_000_000)), y__npy=Y)
    assert Path(file).stat().st_size < 10_000
    with pytest.raises(BadInput, match=r"declares 0.003 GB in x, y; this machine has 0.002 GB"):
        load_dataset(file)


X3, I3 = np.zeros((3, 1, 8, 8), np.float32), np.arange(3)
ARRAYS = {
    "pickled": ({"x": X3, "y": np.array([1, None, "a"], dtype=object)}, ["y holds Python objects"]),
    "text": ({"x": X3, "y": np.array(["a", "b", "c"])}, ["y holds dtype <U1"]),
    "complex": ({"x": X3 + 1j, "y": np.arange(3)}, ["x holds dtype complex64"]),
    "dates": ({"x": X3, "y": np.zeros(3, "M8[D]")}, ["y holds dtype datetime64"]),
    "records": ({"x": X3, "y": np.zeros(3, [("a", "i4")])}, ["y holds dtype"]),
    "NaN labels": ({"x": X3, "y": np.full(3, np.nan)}, ["y holds float64"]),
    "whole labels as floats": ({"x": X3, "y": np.arange(3.0)}, ["y holds float64"]),
    "truth as labels": ({"x": X3, "y": np.array([True, False, True])}, ["y holds bool"]),
    "negative": ({"x": X3, "y": np.array([0, -1, 2])}, ["y must hold class numbers from 0", "not -1 to 2"]),
    "beyond int64": ({"x": X3, "y": np.full(3, 2**64 - 1, np.uint64)}, ["y must hold", str(2**64 - 1)]),
    "one-hot": ({"x": X3, "y": np.eye(3, dtype=int)}, ["y has shape (3, 3)", "class number"]),
    "one label": ({"x": X3, "y": np.array(1)}, ["y has shape ()"]),
    "three axes": ({"x": X3[:, 0], "y": np.arange(3)}, ["x has shape (3, 8, 8)"]),
    "five axes": ({"x": X3[None], "y": np.arange(3)}, ["x has shape (1, 3, 1, 8, 8)"]),
    "no samples": ({"x": X3[:0], "y": np.arange(0)}, ["x has shape (0, 1, 8, 8)"]),
    "no height": ({"x": X3[:, :, :0], "y": np.arange(3)}, ["x has shape (3, 1, 0, 8)"]),
    "integers up to 255": ({"x": X3.astype(int) + 255, "y": np.arange(3)}, ["x holds pixels outside [0, 1]"]),
    "too large for float32": ({"x": X3.astype(float) + 1e300, "y": np.arange(3)}, ["x holds pixels outside"]),
    "NaN in training": ({"x": X3, "y": I3, "x_train": X3 * np.nan, "y_train": I3}, ["x_train holds"]),
    "training without labels": ({"x": X3, "y": np.arange(3), "x_train": X3}, ["no array 'y_train'"]),
}  # fmt: skip


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_are_no_data_set_are_refused_by_name(tmp_path, case):
    arrays, named = ARRAYS[case]
    file = written(tmp_path, **arrays)
    with pytest.raises(BadInput) as refused:
        load_dataset(file)
    for words in ["mine.npz", *named]:
        assert words in str(refused.value)


def test_files_that_are_no_archives_are_refused(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "empty.npz").touch()
    np.save(tmp_path / "array.npy", X3)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    messages = {
        "folder": "is not a file",
        "pipe": "is not a file",
        "empty": "cannot be read",
        "array": "cannot be read",
        "absent": "is not there",
    }
    for name, message in messages.items():
        with pytest.raises(BadInput, match=rf"{name}\.npz' {message}"):
            load_dataset(str(tmp_path / f"{name}.npz"))


def test_500_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    """Bytes changed, cut out, put in twice or cut off, of a stored and of a compressed file."""
    stored, packed = io.BytesIO(), io.BytesIO()
    arrays = {"x": np.random.default_rng(0).random((6, 1, 5, 5), np.float32), "y": np.arange(6), "note": np.zeros(2)}
    np.savez(stored, **arrays)
    np.savez_compressed(packed, **arrays)
    whole, draw = [stored.getvalue(), packed.getvalue()], random.Random(0)
    file = tmp_path / "mine.npz"
    messages = []
    for index in range(500):
        content = bytearray(whole[index % 2])
        for _ in range(draw.choice([1, 1, 2, 8])):
            start = draw.randrange(len(content) + 1)
            change = draw.choice(["flip", "flip", "cut out", "double", "cut off"])
            piece = content[start : start + draw.randrange(1, 40)]
            changed = {
                "flip": bytes([draw.randrange(256)]) + piece[1:],
                "cut out": b"",
                "double": piece * 2,
                "cut off": b"",
            }
            end = len(content) if change == "cut off" and start else start + len(piece)
            content[start:end] = changed[change]
        file.write_bytes(content)
        try:
            load_dataset(str(file))
        except BadInput as refused:
            messages.append(str(refused))
    assert len(messages) > 400
    assert all("mine.npz" in message and "\n" not in message for message in messages)


NET = """
import torch
def make():
    return Bright()
class Bright(torch.nn.Module):
    '''Class k is the brightest channel.'''
    def forward(self, x):
        return 10 * x.mean((2, 3))
"""


def test_an_array_that_memory_cannot_hold_is_named(tmp_path, monkeypatch):
    file = written(tmp_path, x=X3, y=I3)

    def empty(*_: object) -> object:
        raise MemoryError

    monkeypatch.setattr(np, "empty", empty)
    with pytest.raises(BadInput, match=r"x needs 7.68e-07 GB of memory, which is not there"):
        load_dataset(file)


def test_a_run_remembers_the_layout_of_its_data(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    y = np.arange(40) % 4
    x = np.random.default_rng(0).random((40, 4, 8, 3), np.float32)
    np.savez("mine.npz", x=x, y=y, x_train=x, y_train=y)
    words = ("train", "--data", "mine.npz", "--epochs", "1", "--latent", "2")
    code, message = exit_of(capsys, monkeypatch, *words)
    assert (code, message.count("\n")) == (2, 1)
    assert "--layout" in message
    code, message = exit_of(capsys, monkeypatch, *words, "--layout", "nchw")
    assert not code, message
    (run,) = find_runs([tmp_path / "runs"])
    assert (run.card.recipe.layout, run.card.shape) == ("nchw", (4, 8, 3))
    code, message = exit_of(capsys, monkeypatch, "evaluate", "--eps", "0.01", "--samples", "20")
    assert not code, message


def test_the_command_asks_and_then_reads_what_it_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    y = np.arange(12) % 4
    x = np.full((12, 4, 8, 3), 0.2) + 0.6 * (np.arange(4)[None, :] == y[:, None])[:, :, None, None]
    np.savez("mine.npz", x=x, y=y)
    words = ("evaluate", "--model", "net.py:make", "--data", "mine.npz", "--eps", "0.01")
    code, message = exit_of(capsys, monkeypatch, *words)
    assert (code, message.count("\n")) == (2, 1)
    assert "--layout" in message
    assert not Path("results").exists()
    code, message = exit_of(capsys, monkeypatch, *words, "--layout", "nchw")
    assert not code, message
    assert ",1.0000," in Path("results/leaderboard.csv").read_text()
    code, message = exit_of(capsys, monkeypatch, "evaluate", "--layout", "nchw")
    assert (code, message.count("\n")) == (2, 1)
    assert "--layout goes with --model" in message
