"""ImageNet-C's layout: the same accuracy as a plain loop over its files, and one line that names what is not whole."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ibrobust.commands.evaluate import main
from ibrobust.datasets import FORMS, load_dataset
from ibrobust.datasets.forms import form_name
from ibrobust.errors import BadInput
from ibrobust.experiments import evaluation
from ibrobust.robustness.storage import load_corruptions

NET = """
import torch
from torch import nn
def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 3))
"""
NAMES, CLASSES, EACH = ("fog", "snow"), ("ant", "bee", "cow"), 3


def tree(folder: Path, *, grouped: bool = False, size: int = 6) -> dict[tuple[str, int, str, str], np.ndarray]:
    """The layout with drawn images, which it returns by corruption, severity, class and file."""
    drawn, images = np.random.RandomState(0), {}
    for name in NAMES:
        place = folder / "weather" / name if grouped else folder / name
        for severity in range(1, 6):
            for label in CLASSES:
                (place / str(severity) / label).mkdir(parents=True)
                for index in range(EACH):
                    image = drawn.randint(0, 256, (size, size, 3)).astype(np.uint8)
                    Image.fromarray(image).save(place / str(severity) / label / f"{index}.png")
                    images[name, severity, label, f"{index}.png"] = image
    return images


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    (folder / "net.py").write_text(NET)
    return folder, tree(folder / "C")


def plain_accuracy(images) -> dict[tuple[str, int], float]:
    """What anybody would write: each folder, each file, the share that is right."""
    scope: dict = {}
    exec(NET, scope)
    network, right = scope["make"](), {}
    for (name, severity, label, _), image in images.items():
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            right.setdefault((name, severity), []).append(int(network(x).argmax()) == CLASSES.index(label))
    return {key: float(np.mean(each)) for key, each in right.items()}


def test_accuracy_is_that_of_a_plain_loop(place, tmp_path, monkeypatch):
    folder, images = place
    asked = ["--model", f"{folder}/net.py:make", "--data", str(folder / "C"), "--protocol", "corruptions"]
    monkeypatch.setattr("ibrobust.commands.report._figures", lambda *_: [])
    main([*asked, "--out", str(tmp_path / "whole")])
    table = pd.read_csv(tmp_path / "whole" / "corruptions.csv")
    found = {(row.corruption, row.severity): row.accuracy for row in table.itertuples()}
    assert found == pytest.approx(plain_accuracy(images), abs=5e-7)
    assert len(found) == 10
    monkeypatch.setattr(evaluation, "_CORRUPTED_BYTES", 4 * 75 * 108)
    taken, real = [], evaluation.Gaps.take
    monkeypatch.setattr(evaluation.Gaps, "take", lambda self, size: taken.append(size) or real(self, size))
    main([*asked, "--out", str(tmp_path / "blocks")])
    assert max(taken) == 4
    files = [next((tmp_path / out / "corruptions").glob("*.parquet")) for out in ("whole", "blocks")]
    assert files[0].read_bytes() == files[1].read_bytes()
    card = load_corruptions(files[0]).card
    assert card.data.classes == [*CLASSES]
    assert card.corruptions.names == [*NAMES]


def test_each_severity_is_the_files_of_its_folder(place, tmp_path):
    folder, images = place
    whole = load_dataset(str(folder / "C"))
    assert (whole.corrupted.corruptions, whole.class_names) == ([*NAMES], CLASSES)
    assert len(whole.test) == len(CLASSES) * EACH
    every = whole.corrupted.variants(np.arange(9))
    for name, severity in (("fog", 1), ("snow", 4)):
        alone = load_dataset(f"{folder}/C:{name}:{severity}")
        assert torch.equal(alone.test.x, every[f"{name}@{severity}"])
        assert torch.equal(alone.test.y, whole.corrupted.y)
        plain = load_dataset(str(folder / "C" / name / str(severity)))
        assert torch.equal(alone.test.x, plain.test.x), "in the order of any folder of class folders"
        for label in range(3):
            stored = {image.tobytes() for key, image in images.items() if key[:3] == (name, severity, CLASSES[label])}
            rows = alone.test.x[alone.test.y == label].permute(0, 2, 3, 1).numpy()
            assert {row.tobytes() for row in rows} == stored
    tree(tmp_path / "grouped", grouped=True)
    grouped = load_dataset(str(tmp_path / "grouped"))
    assert torch.equal(grouped.corrupted.variants(np.arange(9))["snow@5"], every["snow@5"])
    assert load_dataset(f"{folder}/C", crop=4).shape == (3, 4, 4)


def test_other_folders_are_what_they_were(tmp_path):
    for part in ("train", "test"):  # Classes that are called as severities are.
        for number in range(1, 6):
            (tmp_path / "digits" / part / str(number)).mkdir(parents=True)
            Image.new("L", (4, 4), 9).save(tmp_path / "digits" / part / str(number) / "0.png")
    assert form_name(str(tmp_path / "digits")) == "class-folders"
    assert load_dataset(str(tmp_path / "digits")).classes == 5
    assert "corrupted-folders" in FORMS


def move(folder: Path, name: str) -> None:
    (folder / name).rename(folder / name.replace("0.png", "7.png"))


def remove(folder: Path, name: str) -> None:
    for file in sorted((folder / name).rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (folder / name).rmdir()


SPOILT = {
    "no severity": (lambda at: remove(at, "snow/4"), "", r"corruption 'snow' has no severity 4"),
    "another file": (lambda at: move(at, "snow/2/bee/0.png"), "", r"snow/2' holds no 'bee/0\.png', and others do"),
    "a class more": (lambda at: (at / "fog/3/dog").mkdir(), "", r"fog/3' has other class folders than"),
    "a broken image": (lambda at: (at / "snow/5/cow/1.png").write_bytes(b"no"), "", r"cow/1\.png' is not an image"),
    "another size": (lambda at: Image.new("RGB", (5, 6)).save(at / "snow/5/cow/1.png"), "", "differ in size.*--resize"),
    "no corruption": (lambda _: None, ":fig:3", "has no corruption 'fig'; choose from fog, snow"),
    "no such severity": (lambda _: None, ":fog:6", "severity '6'; write FOLDER:CORRUPTION:SEVERITY, from 1 to 5"),
    "twice": (lambda at: tree(at, grouped=True), "", "holds the corruption 'fog' twice"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_not_whole_is_refused_in_one_line(tmp_path, case):
    spoil, which, words = SPOILT[case]
    tree(tmp_path / "C")
    spoil(tmp_path / "C")
    with pytest.raises(BadInput, match=words) as refusal:
        load_dataset(f"{tmp_path}/C{which}")
    assert "\n" not in str(refusal.value)
