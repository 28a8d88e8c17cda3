"""Images that prove what results say, and every way in which they may not."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import ibrobust
from ibrobust.datasets import load_dataset
from ibrobust.errors import BadInput
from ibrobust.experiments.verification import verified
from ibrobust.robustness.evidence import CLEAN, evidence_path, load_evidence, save_evidence
from ibrobust.robustness.storage import load_results, save_results
from ibrobust.subjects.zoo import load_run
from tests.conftest import ROOT

RUN = "digits-mlp-l2-g0.1-s0-e99535be"
DIGITS = load_dataset("digits").test


@pytest.fixture(scope="module")
def stored(command, tmp_path_factory):
    """Results of a released run with images, in a folder of its own."""
    folder = tmp_path_factory.mktemp("evidence")
    words = [str(ROOT / "zoo" / "runs" / RUN), "--samples", "60", "--keep-images", "--out", str(folder)]
    done = command("evaluate", *words, "--eps", "0.02,0.05,0.1")
    assert done.returncode == 0, done.stderr
    return folder / "paper" / f"{RUN}.parquet"


@pytest.fixture
def copied(stored, tmp_path):
    """The same files, to be tampered with."""
    results = load_results(stored)
    evidence, card = load_evidence(evidence_path(stored))
    path = tmp_path / "paper" / stored.name
    save_results(results, path)
    save_evidence(evidence, card, evidence_path(path))
    return path


def outcome(path, *, weights_sha256="the card's", curves=None):
    run = load_run(ROOT / "zoo" / "runs" / RUN)
    digest = run.card.weights_sha256 if weights_sha256 == "the card's" else weights_sha256
    return verified(path, run.model(), digest, curves)


def tampered(path, change):
    evidence, card = load_evidence(evidence_path(path))
    rows, images = evidence.rows.copy(), evidence.images.clone()
    rows, images = change(rows, images) or (rows, images)
    save_evidence(replace(evidence, rows=rows, images=images), card, evidence_path(path))


def test_what_the_program_kept_holds(stored, command):
    done = command("verify", str(stored.parent.parent), "--runs", str(ROOT / "zoo" / "runs"))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"{RUN}, paper, linf: \d+ of 60 samples proven broken(, \d+ at a tie)?: holds\n", done.stdout)
    assert outcome(stored).faults == []


@pytest.mark.parametrize(("norm", "eps"), [("linf", [0.03, 0.1]), ("l2", [0.2, 0.8])])
@pytest.mark.parametrize("columns", ["own", "standing"])
def test_images_are_those_of_the_table(norm, eps, columns):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    x, y = DIGITS.x[:40], model(DIGITS.x[:40]).argmax(1)
    y[:3] = (y[:3] + 1) % 10
    asked = {"eps": eps, "norm": norm, "columns": columns}
    table = ibrobust.breaking_radii(model, x, y, keep_images=True, **asked)
    assert table.rows.equals(ibrobust.breaking_radii(model, x, y, **asked).rows)
    rows, images = table.evidence.rows, table.images
    broken = np.isfinite(table.all_attacks_N)
    assert broken.sum() > 10
    assert rows["sample"].tolist() == np.flatnonzero(broken).tolist()
    assert np.array_equal(rows["radius"].to_numpy(), table.all_attacks_N[broken])
    assert (rows["attack"][:3] == CLEAN).all()
    for row, (attack, sample) in enumerate(zip(rows["attack"], rows["sample"], strict=True)):
        assert attack == CLEAN or table.rows[attack][sample] == rows["radius"][row]
    assert (model(images).argmax(1) != y[broken]).all()
    assert torch.equal(table.evidence.originals, x[broken])
    change = (images.double() - x[broken].double()).flatten(1)
    distance = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    assert (distance <= torch.tensor(rows["radius"].to_numpy()).double() + 1e-6).all()


def test_each_keeps_an_image_for_every_attack_that_broke_a_sample():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    x, y = DIGITS.x[:30], model(DIGITS.x[:30]).argmax(1)
    table = ibrobust.breaking_radii(model, x, y, eps=[0.03, 0.1], keep_images="each")
    found = table.evidence.rows.set_index(["sample", "attack"])["radius"]
    stated = table.rows.set_index("sample")[table.attacks].stack()
    stated = stated[np.isfinite(stated)]
    assert found.sort_index().rename(None).to_dict() == stated.sort_index().to_dict()


def test_an_image_where_none_is_kept_is_refused():
    table = ibrobust.breaking_radii(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), DIGITS.x[:4], DIGITS.y[:4])
    with pytest.raises(BadInput, match="keep_images=True"):
        _ = table.images
    with pytest.raises(BadInput, match="keep_images 'some': choose from True, False, best, each"):
        ibrobust.breaking_radii(nn.Flatten(), DIGITS.x[:4], DIGITS.y[:4], keep_images="some")


def test_verification_imports_no_attack():
    code = "import sys, ibrobust.commands.verify, ibrobust.experiments.verification, ibrobust.subjects.zoo\n"
    code += "print([name for name in sys.modules if name.startswith('ibrobust.attacks')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def first_broken(rows):
    return (rows["attack"] != CLEAN).to_numpy().argmax()


def another_pixel(rows, images):
    at = first_broken(rows)
    images[at, 0, 0, 0] += 0.5 if images[at, 0, 0, 0] < 0.5 else -0.5


def beyond_one(rows, images):
    images[first_broken(rows), 0, 0, 0] = 1.5


def no_number(rows, images):
    images[first_broken(rows), 0, 0, 0] = torch.nan


def smaller_radius(rows, images):
    rows.loc[first_broken(rows), "radius"] = np.float32(0.001)


def another_label(rows, images):
    at = first_broken(rows)
    rows.loc[at, "label"] = (rows.loc[at, "label"] + 1) % 10


def unknown_sample(rows, images):
    rows.loc[first_broken(rows), "sample"] = 400


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (another_pixel, "beyond the radius"),
        (beyond_one, r"pixels outside \[0, 1\]"),
        (no_number, r"pixels outside \[0, 1\]"),
        (smaller_radius, "its radius is not that of the results"),
        (another_label, "its label is not that of the results"),
        (unknown_sample, "not among the results"),
    ],
)
def test_what_was_tampered_with_is_found_and_named(copied, change, fault):
    rows = load_evidence(evidence_path(copied))[0].rows
    sample = 400 if change is unknown_sample else rows["sample"][first_broken(rows)]
    tampered(copied, change)
    assert any(re.search(rf"{fault}: samples \[{sample}\]", said) for said in outcome(copied).faults), outcome(copied)


def test_an_image_that_is_no_mistake_is_found(copied):
    evidence, card = load_evidence(evidence_path(copied))
    at = first_broken(evidence.rows)
    images = evidence.images.clone()
    images[at] = evidence.originals[at]
    save_evidence(replace(evidence, images=images), card, evidence_path(copied))
    sample = evidence.rows["sample"][at]
    assert outcome(copied).faults == [f"classified as its label: samples [{sample}]"]


def test_a_broken_sample_without_an_image_is_found(copied):
    evidence, card = load_evidence(evidence_path(copied))
    kept = np.arange(len(evidence)) != first_broken(evidence.rows)
    fewer = replace(
        evidence,
        rows=evidence.rows[kept].reset_index(drop=True),
        images=evidence.images[kept],
        originals=evidence.originals[kept],
    )
    save_evidence(fewer, card, evidence_path(copied))
    sample = evidence.rows["sample"][first_broken(evidence.rows)]
    assert outcome(copied).faults == [f"no image proves the breaking radius of samples [{sample}]"]


def test_other_weights_other_curves_and_other_results_are_found(copied, stored):
    assert "other weights" in outcome(copied, weights_sha256="0" * 64).faults[0]
    curves = pd.read_csv(stored.parent.parent / "curves.csv")
    assert outcome(copied, curves=curves).faults == []
    lower = curves.assign(robust=curves["robust"].where(curves["eps"] != 0.05, 0.9))
    assert outcome(copied, curves=lower).faults[0].startswith("curves.csv differs at radius 0.05: 0.9000")
    results = load_results(copied)
    weaker = results.rows.assign(**{name: np.float32("inf") for name in results.attacks})
    save_results(replace(results, rows=weaker), copied)
    assert any("its radius is not that of the results" in fault for fault in outcome(copied).faults)


@pytest.mark.parametrize("kept", [0, 10, 1000])
def test_a_truncated_file_is_refused_in_one_line(copied, kept, command):
    path = evidence_path(copied)
    path.write_bytes(path.read_bytes()[:kept])
    done = command("verify", str(copied.parent.parent), "--runs", str(ROOT / "zoo" / "runs"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "is not a whole file of evidence" in done.stderr


def test_a_fault_is_exit_code_1_and_one_line(copied, command):
    tampered(copied, another_pixel)
    done = command("verify", str(copied), "--runs", str(ROOT / "zoo" / "runs"))
    assert (done.returncode, done.stderr) == (1, f"error: 1 of 1 results are not proven: {RUN}\n")
    assert done.stdout.count("\n") == 1


def test_exported_arrays_and_pictures(stored, command, tmp_path):
    out = tmp_path / "out"
    words = ["--runs", str(ROOT / "zoo" / "runs"), "--out", str(out), "--pictures", "2"]
    done = command("export", str(stored.parent.parent), *words)
    assert done.returncode == 0, done.stderr
    evidence, _ = load_evidence(evidence_path(stored))
    arrays = np.load(out / "paper" / RUN / "adversarial.npz")
    assert np.array_equal(arrays["x_adv"], evidence.images.numpy())
    assert np.array_equal(arrays["ids"], evidence.rows["sample"])
    assert len(list((out / "paper" / RUN).glob("*.png"))) == 4
    run = load_run(ROOT / "zoo" / "runs" / RUN)
    as_bytes = (evidence.images * 255).round() / 255
    right = int((run.model().eval()(as_bytes).argmax(1) == torch.tensor(evidence.rows["label"].to_numpy())).sum())
    assert f"rounded to bytes, {right} are no mistakes any more" in done.stdout
