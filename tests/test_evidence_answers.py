"""What the model answers to a kept image stands beside it: the class, its probability and the label's."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import ibrobust
from ibrobust.datasets import load_dataset
from ibrobust.errors import BadInput
from ibrobust.experiments.verification import verified
from ibrobust.files import released_zoo
from ibrobust.robustness.card import ModelRecord
from ibrobust.robustness.card_records import DataRecord
from ibrobust.robustness.evidence import ANSWERS, evidence_path, load_evidence, save_evidence
from ibrobust.robustness.storage import save_results
from ibrobust.subjects.zoo import load_run
from tests.refusals import RUN

DIGITS = load_dataset("digits").test


@pytest.fixture(scope="module")
def model():
    return load_run(released_zoo() / "runs" / RUN).model().eval()


@pytest.fixture(scope="module")
def table(model):
    return ibrobust.breaking_radii(model, DIGITS.x[:30], DIGITS.y[:30], eps=[0.03, 0.1], keep_images=True)


@pytest.fixture
def stored(table, tmp_path):
    """The results with their evidence as files."""
    about = {"model": ModelRecord(run=RUN), "data": DataRecord(name="digits")}
    card = table.card.model_copy(update=about)
    path = tmp_path / "paper" / f"{RUN}.parquet"
    save_results(replace(table, card=card), path)
    save_evidence(table.evidence, card, evidence_path(path))
    return path


def changed(path, **columns):
    evidence, card = load_evidence(evidence_path(path))
    rows = evidence.rows.drop(columns=[name for name, value in columns.items() if value is None])
    given = {name: value for name, value in columns.items() if value is not None}
    save_evidence(replace(evidence, rows=rows.assign(**given)), card, evidence_path(path))


@pytest.mark.parametrize("kept", ["best", "each"])
def test_the_answers_are_the_models_own(model, kept):
    x, y = DIGITS.x[:12], DIGITS.y[:12].clone()
    y[0] = (y[0] + 1) % 10  # A sample that is wrong unchanged.
    evidence = ibrobust.breaking_radii(model, x, y, eps=[0.05, 0.1], keep_images=kept).evidence
    rows, labels = evidence.rows, torch.from_numpy(evidence.rows["label"].to_numpy().copy())[:, None]
    with torch.no_grad():
        on_image, on_original = (model(each).double().softmax(1) for each in (evidence.images, evidence.originals))
    assert len(rows) > 5
    assert np.array_equal(rows["prediction"], on_image.argmax(1))
    expected = (on_image.amax(1), on_image.gather(1, labels)[:, 0], on_original.gather(1, labels)[:, 0])
    for name, values in zip(ANSWERS[1:], expected, strict=True):
        assert rows[name].dtype == np.float32
        assert np.allclose(rows[name], values, atol=1e-6, rtol=0)


def test_the_answers_do_not_depend_on_the_batch_size(model, table):
    other = ibrobust.breaking_radii(
        model, DIGITS.x[:30], DIGITS.y[:30], eps=[0.03, 0.1], keep_images=True, batch_size=16
    )
    assert other.evidence.rows.equals(table.evidence.rows)


def test_a_file_gives_them_back_and_verification_compares_them(model, table, stored):
    read = load_evidence(evidence_path(stored))[0].rows
    assert read.to_dict("list") == table.evidence.rows.to_dict("list")
    assert verified(stored, model, None, None).faults == []


@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_is_found(model, table, stored, name):
    values = table.evidence.rows[name].copy()
    values[0] = (values[0] + 1) % 10 if name == "prediction" else values[0] / 2 + np.float32(0.3)
    changed(stored, **{name: values})
    sample = table.evidence.rows["sample"][0]
    assert verified(stored, model, None, None).faults == [f"not classified as its row says: samples [{sample}]"]


def test_evidence_of_earlier_versions_is_read_and_verified(model, table, stored):
    changed(stored, **dict.fromkeys(ANSWERS))
    evidence, _ = load_evidence(evidence_path(stored))
    assert not set(ANSWERS) & set(evidence.rows)
    assert torch.equal(evidence.images, table.images)
    assert verified(stored, model, None, None).faults == []


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"probability": None}, "it has prediction and lacks probability"),
        ({"probability": np.float32(1.5)}, "its probability holds what is no probability"),
        ({"label_probability": np.float32("nan")}, "its label_probability holds what is no probability"),
        ({"prediction": -1}, "its prediction holds what is no class"),
        ({"prediction": "3"}, "its prediction holds what is no class"),
    ],
)
def test_a_damaged_column_is_refused(stored, columns, fault):
    changed(stored, **columns)
    with pytest.raises(BadInput, match=f"is not a whole file of evidence: {fault}"):
        load_evidence(evidence_path(stored))
