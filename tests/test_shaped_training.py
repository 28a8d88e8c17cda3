"""What a recipe says of images of any size: training, the run's card and its evaluation use the same shaping."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ibrobust.__main__ import main
from ibrobust.datasets import load_dataset
from ibrobust.recipe import Recipe, make_recipe
from ibrobust.robustness.storage import card_in
from ibrobust.subjects.zoo import find_runs
from tests.refusals import refused
from tests.test_data_forms import png

QUICK = ["--epochs", "1", "--latent", "4", "--noise", "none", "--threads", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of several sizes, and a table of images with two columns of numbers."""
    place = tmp_path_factory.mktemp("shaped")
    drawn = np.random.RandomState(0)
    for part in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            (place / "photos" / part / name).mkdir(parents=True)
            for index in range(3):
                pixels = drawn.randint(0, 128, (12 + index, 16, 3)) + 100 * label
                Image.fromarray(pixels.astype(np.uint8)).save(place / "photos" / part / name / f"{index}.png")
    images = [{"bytes": png(drawn.randint(0, 256, (8, 8, 3)).astype(np.uint8)), "path": None} for _ in range(6)]
    (place / "table").mkdir()
    for part in ("train", "test"):
        table = pa.table({"image": images, "kind": [0, 1] * 3, "other": [1, 1, 0] * 2})
        pq.write_table(table, place / "table" / f"{part}-00000-of-00001.parquet")
    return place


def test_a_run_is_evaluated_on_images_shaped_as_those_that_it_was_trained_on(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = ["--data", str(folder / "photos"), "--resize", "10:bicubic", "--crop", "8"]
    main(["train", *data, *QUICK])
    (run,) = find_runs([tmp_path / "runs"])
    shaped = load_dataset(str(folder / "photos"), resize="10:bicubic", crop=8)
    assert run.card.shape == shaped.shape == (3, 8, 8)
    assert run.card.data_fingerprint == shaped.fingerprint
    assert (run.card.recipe.resize, run.card.recipe.crop) == ("10:bicubic", "8")
    found = run.data(data_dir=None, download=False)
    assert torch.equal(found.test.x, shaped.test.x)
    assert json.loads((run.folder / "card.json").read_text())["recipe"]["resize"] == "10:bicubic"
    main(["evaluate", "--attacks", "fgsm", "--eps", "0.1", "--threads", "1"])
    (results,) = (tmp_path / "results").glob("fgsm/*.parquet")
    card = card_in(results)
    assert card.data.transform == "resize 10 bicubic, crop 8x8"
    assert card.model.recipe == run.card.recipe


def test_a_column_of_labels_is_part_of_the_recipe(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for column in ("kind", "other"):
        main(["train", "--data", str(folder / "table"), "--label-column", column, *QUICK])
    runs = find_runs([tmp_path / "runs"])
    labels = {run.card.recipe.label_column: run.data(data_dir=None, download=False).test.y.tolist() for run in runs}
    assert labels == {"kind": [0, 1] * 3, "other": [1, 1, 0] * 2}


def test_a_recipe_that_shapes_nothing_says_nothing_of_it():
    younger = {"resize", "crop", "label_column"}
    assert not younger & Recipe().model_dump().keys()
    assert not younger & json.loads(Recipe().model_copy(update=dict(Recipe())).model_dump_json()).keys()
    assert "resize" not in Recipe().to_toml()
    one = make_recipe({"resize": "8"})
    assert one.model_dump()["resize"] == "8"
    assert one.run_id != Recipe().run_id
    assert 'resize = "8"\n' in one.to_toml()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--resize", "big"], "--resize 'big': write pixels, as 224 or 224x192"),
        (["--crop", "8x"], "--crop '8x': write pixels"),
        (["--resize", "8:cubic"], "no filter 'cubic'; choose from bilinear, bicubic"),
        (
            ["--data", "digits", "--resize", "8"],
            "--resize '8' is for encoded images; data 'digits' is not of that kind",
        ),
        (["--crop", "13"], "which is smaller than crop 13 × 13; resize it"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(folder, tmp_path, capsys, monkeypatch, words, named):
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, capsys, monkeypatch, ["train", "--data", str(folder / "photos"), *QUICK, *words], [named])
