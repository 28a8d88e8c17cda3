"""Cards, weights, tables and recipes that are not what they should be: one line that names the file and the field."""

import hashlib
import json
import struct

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load, save

from ibrobust.errors import BadInput
from ibrobust.files import released_zoo
from ibrobust.recipe import recipes_in
from ibrobust.robustness.card import ModelRecord
from ibrobust.robustness.storage import load_results, save_results
from ibrobust.subjects.zoo import find_runs, load_run
from tests.cards import asked_otherwise
from tests.refusals import RUN, refused


def card_with(**changes):
    def changed(card: dict) -> bytes:
        return json.dumps(card | changes).encode()

    return changed


def recipe_with(**changes):
    return lambda card: json.dumps(card | {"recipe": card["recipe"] | changes}).encode()


CARDS = {
    "empty": (lambda _: b"", []),
    "binary": (lambda _: bytes(range(256)), []),
    "a list": (lambda _: b"[]", []),
    "a number": (lambda _: b"3", []),
    "deep": (lambda _: b"[" * 100_000, []),
    "a path": (card_with(run="../../x"), ["run", "'../../x'"]),
    "a long name": (card_with(run="x" * 300), ["run", "xxx"]),
    "a broken name": (card_with(run="a\nb"), ["run", "'a\\nb'"]),
    "a formula": (card_with(run="=1+1"), ["run", "'=1+1'"]),
    "no name": (card_with(run=3), ["run"]),
    "an unknown field": (card_with(colour="red"), ["colour"]),
    "an unknown field of the recipe": (recipe_with(colour="red"), ["recipe.colour"]),
    "an unknown model": (recipe_with(model="vgg"), ["'vgg'", "mlp"]),
    "an unknown regulariser": (recipe_with(reg="l3"), ["'l3'", "dvib"]),
    "an unknown likelihood": (recipe_with(likelihood="odd"), ["'odd'", "decoder"]),
    "a negative noise": (recipe_with(noise="-1"), ["'-1'"]),
    "another noise": (card_with(noise="none"), ["noise", "'none'", "'zero-entropy'"]),
    "a noise that is NaN": (card_with(noise_std=float("nan")), ["noise_std"]),
    "a noise below 0": (card_with(noise_std=-1.0), ["noise_std"]),
    "no noise": (card_with(noise_std=None), ["noise_std", "'zero-entropy'"]),
    "no classes": (card_with(classes=0), ["classes"]),
    "no size": (card_with(shape=[1, 0, 8]), ["shape"]),
    "a flat size": (card_with(shape=[8, 8]), ["shape"]),
    "a giant": (card_with(classes=10**12), ["classes"]),
    "a large seed": (recipe_with(seed=10**30), ["recipe.seed"]),
}


@pytest.mark.parametrize("case", CARDS)
def test_a_card_is_refused(folder, capsys, monkeypatch, case):
    spoil, named = CARDS[case]
    path = folder / "runs" / RUN / "card.json"
    path.write_bytes(spoil(json.loads(path.read_bytes())))
    for words in (["evaluate"], ["histories", "runs", "--out", "out"]):
        refused(folder, capsys, monkeypatch, words, [f"card 'runs/{RUN}/card.json'", *named])


def test_a_folder_called_card_is_no_run(folder, capsys, monkeypatch):
    (folder / "runs" / RUN / "card.json").unlink()
    (folder / "runs" / RUN / "card.json").mkdir()
    refused(folder, capsys, monkeypatch, ["evaluate", "runs"], ["runs"])


def test_every_released_card_is_whole():
    runs = find_runs([released_zoo() / "runs", released_zoo() / "mnist"])
    assert len(runs) > 40


def test_a_card_keeps_what_is_infinite(folder):
    """An information may be unbounded; JSON's own null would not come back as a number."""
    run = load_run(folder / "runs" / RUN)
    metrics = {**run.card.metrics, "test": {"error": 0.1, "encoding_entropy_low": -np.inf}}
    card = run.card.model_copy(update={"metrics": metrics})
    (run.folder / "card.json").write_text(card.model_dump_json(), encoding="utf-8")
    assert load_run(run.folder).card == card


def plain_safetensors(dtype: str, header: object = None) -> bytes:
    """A file of one tensor of a type, written by hand."""
    described = {"decoder.bias": {"dtype": dtype, "shape": [10], "data_offsets": [0, 40]}} if header is None else header
    text = json.dumps(described).encode()
    return struct.pack("<Q", len(text)) + text + bytes(40)


def converted(weights: bytes, name: str, dtype: torch.dtype) -> bytes:
    tensors = load(weights)
    return save(tensors | {name: tensors[name].to(dtype)})


WEIGHTS = {
    "a type that nobody knows": (lambda _: plain_safetensors("F7"), []),
    "a type that torch does not know": (lambda _: plain_safetensors("F6_E2M3"), []),
    "other tensors": (lambda _: plain_safetensors("F32"), ["is missing"]),
    "double": (lambda weights: converted(weights, "decoder.bias", torch.float64), ["decoder.bias", "float64"]),
    "complex": (lambda weights: converted(weights, "decoder.bias", torch.complex64), ["decoder.bias", "complex64"]),
    "truncated": (lambda weights: weights[:-100], []),
    "a header beyond the end": (lambda weights: struct.pack("<Q", 2**60) + weights[8:], []),
    "a list for a header": (lambda _: plain_safetensors("", [1]), []),
    "empty": (lambda _: b"", []),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_are_refused(folder, capsys, monkeypatch, case):
    spoil, named = WEIGHTS[case]
    run = folder / "runs" / RUN
    weights = spoil((run / "weights.safetensors").read_bytes())
    (run / "weights.safetensors").write_bytes(weights)
    card = json.loads((run / "card.json").read_bytes()) | {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    (run / "card.json").write_text(json.dumps(card), encoding="utf-8")
    words = ["evaluate", "--samples", "5"]
    refused(folder, capsys, monkeypatch, words, [f"weights 'runs/{RUN}/weights.safetensors' cannot be read", *named])


TABLES = {
    "empty": b"",
    "binary": bytes(range(256)),
    "ragged": b"a,b\n1,2,3\n",
    "of something else": b"a,b\n1,2\n",
    "of text": b"epoch,protocol,results,seconds,run,split,view,quantity,estimator,k,n,nats,bias,low,high\n"
    + b",".join([b"=x"] * 15),
}


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_a_history_is_refused(folder, capsys, monkeypatch, content):
    (folder / "runs" / RUN / "history.csv").write_bytes(content)
    refused(folder, capsys, monkeypatch, ["histories", "runs"], [f"table 'runs/{RUN}/history.csv'"])


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_earlier_timings_and_findings_are_refused_before_the_work_begins(folder, capsys, monkeypatch, content):
    (folder / "results").mkdir()
    for words, name in ((["evaluate", "--samples", "5"], "timings.csv"), (["audit"], "audit.csv")):
        (folder / "results" / name).write_bytes(content)
        refused(folder, capsys, monkeypatch, words, [f"table 'results/{name}'"])


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_a_trajectory_is_refused(folder, content):
    from ibrobust.entropies.table import read_information

    (folder / "information.csv").write_bytes(content)
    with pytest.raises(BadInput, match=r"table '.*information\.csv'"):
        read_information(folder / "information.csv")


@pytest.mark.parametrize("name", ["leaderboard.csv", "timings.csv", "curves.csv"])
def test_a_folder_that_stands_where_a_table_should_is_refused_before_the_work_begins(folder, capsys, monkeypatch, name):
    (folder / "results" / name).mkdir(parents=True)
    refused(folder, capsys, monkeypatch, ["evaluate", "--samples", "5"], [f"'results/{name}' is a folder"])


def test_findings_of_a_run_replace_its_earlier_ones_whatever_its_name(folder, capsys, monkeypatch):
    """A name that begins with a dash is a formula to a spreadsheet, and has to be found again."""
    from ibrobust.robustness.card import AuditRecord, FindingRecord
    from ibrobust.robustness.findings import save_findings

    results = load_results(released_zoo() / "results" / "paper" / f"{RUN}.parquet")
    results = asked_otherwise(results, model=ModelRecord(run="-mlp"))
    for value in (0.1, 0.2):
        finding = FindingRecord(
            name="effort", value=value, threshold=0.05, passed=False, means="suspect", sentence="=a sentence"
        )
        audit = AuditRecord(samples=500, eps=0.1, findings=[finding])
        save_findings(asked_otherwise(results, audit=audit), folder / "audit.csv")
    rows = pd.read_csv(folder / "audit.csv", encoding="utf-8")
    assert list(rows["value"]) == [0.2]
    assert list(rows["run"]) == ["'-mlp"]
    save_results(results, folder / "results" / "paper" / "-mlp.parquet")


RECIPES = {
    "run is a number": (b"run = 3", ["run = 3", "[[run]]"]),
    "run is one table": (b"[run]\nseed = 1", ["run = {'seed': 1}", "[[run]]"]),
    "run is a list of numbers": (b"run = [1, 2]", ["run = [1, 2]"]),
    "nested": (b"seed = " + b"[" * 5000 + b"]" * 5000, ["nested"]),
    "a list in a list": (b"seed = [[1]]", ["seed = [1]"]),
    "a large seed": (b"seed = %d" % 10**30, ["seed = 1000000"]),
    "a seed of 2**63": (b"seed = %d" % 2**63, ["seed = 9223372036854775808"]),
    "many digits": (b"seed = " + b"1" * 5000, []),
    "a table": (b"[seed]\na = 1", ["seed"]),
    "a date": (b"epochs = 2020-01-01", ["epochs"]),
    "an empty list": (b"seed = []", ["seed = []"]),
    "a grid beyond all memory": (
        b"\n".join(b"%s = %s" % (key, b"[" + b"1," * 100 + b"]") for key in (b"seed", b"epochs", b"latent", b"gamma")),
        ["100000000 runs"],
    ),
    "not UTF-8": (b"\xff\xfe", ["recipe.toml"]),
    "many epochs": (b"epochs = 10000000000", ["epochs"]),
    "a long key": (b"k" * 5000 + b" = 1", ["no key 'kkk"]),
    "a key of several lines": (b'"a\\nb" = 1', ["no key 'a\\nb'"]),
}


@pytest.mark.parametrize("case", RECIPES)
def test_a_recipe_is_refused(folder, capsys, monkeypatch, case):
    content, named = RECIPES[case]
    (folder / "recipe.toml").write_bytes(content)
    refused(folder, capsys, monkeypatch, ["train", "--recipe", "recipe.toml"], ["recipe.toml", *named])


def test_run_tables_are_grids(tmp_path):
    (tmp_path / "recipe.toml").write_text("[[run]]\nseed = [0, 1]\n[[run]]\nseed = 2", encoding="utf-8")
    assert [recipe.seed for recipe in recipes_in(tmp_path / "recipe.toml")] == [0, 1, 2]
