"""docs/datasets.md: every line of its table runs, and `ibrobust datasets` shows the same examples."""

import json
import re
import shlex
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ibrobust.__main__ import main as command
from ibrobust.commands import report
from ibrobust.commands.datasets import main as datasets
from ibrobust.commands.evaluate import main
from ibrobust.datasets import FORMS, interface
from ibrobust.subjects.zoo import find_runs
from tests.conftest import ROOT
from tests.test_data_forms import FEATURES, png

PAGE = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
LINES = re.findall(r"^\| .* \| `(--data [^`]*)` \|$", PAGE, re.MULTILINE)
NET = """
from torch import nn
def make():
    import torch
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3))
"""
FACTORY = """
import numpy as np, torch
def test_set():
    x = torch.from_numpy(np.load("images.npy")).permute(0, 3, 1, 2)
    return torch.utils.data.TensorDataset(x, torch.from_numpy(np.load("labels.npy")))
"""


def rows(image: np.ndarray, count: int = 6) -> pa.Table:
    return pa.table({"image": [{"bytes": png(image), "path": None}] * count, "label": [0, 1, 2] * (count // 3)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Everything that the page names."""
    at = tmp_path_factory.mktemp("page")
    (at / "net.py").write_text(NET)
    (at / "data.py").write_text(FACTORY)
    drawn = np.random.RandomState(0)
    photo, small = (drawn.randint(0, 256, (side, side + 30, 3)).astype(np.uint8) for side in (270, 40))
    for name in ("cat", "dog", "owl"):
        (at / "photos" / name).mkdir(parents=True)
        Image.fromarray(photo).save(at / "photos" / name / "0.png")
    (at / "beans").mkdir()
    Image.fromarray(small).save(at / "beans" / "0.png")
    (at / "beans" / "metadata.csv").write_text("file_name,label\n" + "0.png,angular\n0.png,healthy\n0.png,rust\n")
    (at / "cifar10" / "plain_text").mkdir(parents=True)
    pq.write_table(rows(small), at / "cifar10" / "plain_text" / "test-00000-of-00001.parquet")
    (at / "saved" / "beans").mkdir(parents=True)
    table = rows(photo)
    with (
        pa.OSFile(str(at / "saved" / "beans" / "data.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as to,
    ):
        to.write_table(table)
    (at / "saved" / "beans" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    (at / "saved" / "beans" / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    images, labels = drawn.randint(0, 256, (6, 32, 32, 3)).astype(np.uint8), np.arange(6) % 3
    np.savez(at / "mine.npz", x=images, y=labels)
    np.save(at / "images.npy", images)
    np.save(at / "labels.npy", labels)
    (at / "CIFAR-10-C").mkdir()
    np.save(at / "CIFAR-10-C" / "fog.npy", np.tile(images, (5, 1, 1, 1)))
    np.save(at / "CIFAR-10-C" / "labels.npy", np.tile(labels, 5))
    for severity, name in product("12345", ("n01", "n02", "n03")):
        (place := at / "ImageNet-C" / "fog" / severity / name).mkdir(parents=True)
        Image.fromarray(small).save(place / "0.JPEG")
    return at


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_table_runs(folder, tmp_path, line, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(report, "_figures", lambda *_: [])
    attack = [] if "--protocol" in line else ["--attacks", "fgsm", "--eps", "0.01"]
    main(["--model", "net.py:make", *shlex.split(line), *attack, "--samples", "3", "--out", str(tmp_path)])
    (row,) = pd.read_csv(tmp_path / "leaderboard.csv").to_dict("records")
    assert row["n"] == 3


def test_the_table_and_the_command_name_every_form(capsys):
    datasets([])
    shown = capsys.readouterr().out
    for name in FORMS:
        assert f"--data {FORMS[name].example}" in LINES, name
        assert f"--data {FORMS[name].example}" in shown, name
    assert "256 MB" in PAGE
    assert interface.HELD_BYTES == 2**28


def test_the_example_of_a_named_data_set_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    datasets([])
    (line,) = re.findall(r"^ {6}(train .*)$", capsys.readouterr().out, re.MULTILINE)
    command(shlex.split(line))
    (run,) = find_runs([tmp_path / "runs"])
    assert run.card.recipe.data == "digits"


@pytest.mark.parametrize(("given", "words"), [(None, "needs a folder"), ("empty", "--download fetches it there")])
def test_the_command_says_what_is_missing(tmp_path, capsys, monkeypatch, given, words):
    monkeypatch.delenv("IBROBUST_DATA", raising=False)
    datasets(["--data-dir", str(tmp_path)] if given else [])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert "needs no files" in lines["digits"]
    assert words in lines["mnist"]
