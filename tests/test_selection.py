"""Samples that are drawn are the ones that their card says, under their own numbers."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ibrobust.datasets import interface
from ibrobust.errors import BadInput
from ibrobust.experiments.evaluation import evaluate_subject
from ibrobust.experiments.selection import drawn, selection_of
from ibrobust.experiments.subject import foreign_subject
from ibrobust.robustness.question import Execution
from ibrobust.robustness.settings import make_settings
from tests.refusals import exit_of

NET = """
import torch
from torch import nn
def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 3))
"""
LABELS = np.repeat([0, 1, 2], [20, 9, 1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("drawn")
    (place / "net.py").write_text(NET)
    np.savez(place / "a.npz", x=np.random.RandomState(0).rand(30, 3, 6, 6), y=LABELS)
    return place


def subject(folder):
    return foreign_subject(f"{folder}/net.py:make", f"{folder}/a.npz", data_dir=None, download=False)


def test_random_samples_are_without_replacement_and_depend_on_the_seed(folder):
    whole = subject(folder)
    ids = {seed: drawn(whole, selection_of(f"random:12:{seed}")).ids.tolist() for seed in (0, 1)}
    assert all(found == sorted(set(found)) and len(found) == 12 and max(found) < 30 for found in ids.values())
    assert ids[0] != ids[1]
    assert ids[0] == drawn(whole, selection_of("random:12")).ids.tolist()
    assert ids[1] == sorted(np.random.RandomState(1).permutation(30)[:12].tolist())
    assert drawn(whole, selection_of("random:30:5")).ids.tolist() == list(range(30))


@pytest.mark.parametrize(("count", "classes"), [(30, [20, 9, 1]), (10, [7, 3, 0]), (15, [10, 5, 0]), (1, [1, 0, 0])])
def test_stratified_samples_keep_the_classes_shares(folder, count, classes):
    found = drawn(subject(folder), selection_of(f"stratified:{count}:3"))
    assert np.bincount(LABELS[found.ids], minlength=3).tolist() == classes
    assert found.test.y.tolist() == LABELS[found.ids].tolist()


@pytest.mark.parametrize("held", [True, False])
def test_drawn_samples_have_the_rows_that_they_have_among_all(folder, tmp_path, held, monkeypatch):
    monkeypatch.setenv("IBROBUST_CACHE", str(tmp_path / "cache"))
    if not held:
        monkeypatch.setattr(interface, "HELD_BYTES", 0)
    settings = make_settings({"eps": "0.02,0.1,0.3", "attacks": "fgsm,pgd"})
    whole, _ = evaluate_subject(subject(folder), None, settings, Execution(), out=tmp_path / "whole")
    some = drawn(subject(folder), selection_of("random:11:4"))
    part, _ = evaluate_subject(some, None, settings, Execution(), out=tmp_path / "part")
    rows, expected = pd.read_parquet(part), pd.read_parquet(whole)
    pd.testing.assert_frame_equal(rows, expected[expected["sample"].isin(some.ids)].reset_index(drop=True))
    assert json.loads(pq.read_schema(part).metadata[b"ibrobust"])["data"]["sample"] == "random:11:4"
    assert "sample" not in json.loads(pq.read_schema(whole).metadata[b"ibrobust"])["data"]
    _, seconds = evaluate_subject(some, None, settings, Execution(), out=tmp_path / "part")
    assert seconds is None, "what is there is kept"


def test_the_leaderboard_says_how_samples_were_drawn(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("evaluate", "--model", f"{folder}/net.py:make", "--data", f"{folder}/a.npz")
    attack = ("--attacks", "fgsm", "--eps", "0.1")
    code, words = exit_of(capsys, monkeypatch, *asked, *attack, "--sample", "stratified:10")
    assert code is None, words
    (row,) = pd.read_csv("results/leaderboard.csv").to_dict("records")
    assert (row["n"], "10 samples, stratified:10:0" in row["group"]) == (10, True)


BAD = {
    "random": "write random:N:SEED or stratified:N:SEED",
    "random:x": "write random:N:SEED",
    "first:3": "write random:N:SEED",
    "random:3:4:5": "write random:N:SEED",
    "random:0": "N from 1 on",
    "stratified:31": "has 30 test samples",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_sample_is_refused(folder, text):
    with pytest.raises(BadInput, match=BAD[text]):
        drawn(subject(folder), selection_of(text))
