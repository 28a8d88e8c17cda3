"""What the ledger says of regularisers, batch size and dropout, from one row per run, and those rows from cards."""

import json
import math
import re

import pandas as pd
import pytest

from benchmarks.ablations import NUMBERS, RECIPE, by_recipe, printed, row_of
from ibrobust.recipe import recipes_in
from ibrobust.subjects.zoo import find_runs
from tests.conftest import ROOT


def test_a_row_is_what_the_card_says() -> None:
    folder = next((ROOT / "zoo" / "runs").glob("digits-mlp-l2-g0.1-s0-*"))
    (run,) = find_runs([folder])
    card = json.loads((folder / "card.json").read_bytes())
    row, train, test = row_of(run), card["metrics"]["train"], card["metrics"]["test"]
    assert [row[key] for key in (*RECIPE, "seed")] == [card["recipe"][key] for key in (*RECIPE, "seed")]
    assert row["high"] == train["encoding_entropy_high"] > row["low"] == train["encoding_entropy_low"]
    assert row["overfit"] == test["decoder_cross_entropy"] - train["decoder_cross_entropy"] > 0
    assert row["test_error"] == test["error"]


def test_seeds_are_one_row_with_their_spread() -> None:
    about = dict.fromkeys(RECIPE, 0) | {"reg": "l2"}
    rows = pd.DataFrame(
        [{**about, "seed": seed, **dict.fromkeys(NUMBERS, float(value))} for seed, value in enumerate((1, 2, 6))]
        + [{**about, "dropout": 1, "seed": 0, **dict.fromkeys(NUMBERS, 4.0)}]
    )
    table = by_recipe(rows)
    assert table["seeds"].tolist() == [3, 1]
    assert table["overfit"].tolist() == [3.0, 4.0]
    assert table["overfit_sd"][0] == pytest.approx(7**0.5)
    assert printed(table)["residual"].tolist() == ["3.000 ± 2.646", "4.000"]


def test_the_rows_are_those_of_the_recipes() -> None:
    rows = pd.read_csv(ROOT / "zoo" / "table" / "ablations.csv")
    recipes = [
        recipe
        for name in ("G10", "G8", "G4", "G7")
        for recipe in recipes_in(ROOT / "zoo" / "recipes" / f"figure-{name}-small.toml")
    ]
    known = {recipe.model_copy(update={"seed": seed}).run_id for recipe in recipes for seed in (0, 1, 2)}
    assert set(rows["run"]) <= known
    assert set(by_recipe(rows)["seeds"]) == {3}


def test_what_the_ledger_says_of_them_is_so() -> None:
    table = by_recipe(pd.read_csv(ROOT / "zoo" / "table" / "ablations.csv"))
    ledger = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")
    plane, overfit = {}, {}
    for row in table.to_dict("records"):
        key = (row["model"], row["reg"], row["gamma"], row["batch_size"], row["dropout"])
        plane[key] = [row["low"], row["high"], row["residual"]]
        overfit[key] = row["overfit"]
    none, l2 = ("mlp", "none", 0.0, 64, 0.0), [("mlp", "l2", gamma, 64, 0.0) for gamma in (1e-4, 1e-3, 1e-2, 0.1, 1)]
    logvar = [("mlp", "logvar", gamma, 64, 0.0) for gamma in (1e-4, 1e-3, 1e-2, 0.1, 1)]
    conditional = {gamma: ("mlp", "cond-logvar", gamma, 64, 0.0) for gamma in (1e-3, 1.0)}
    batches = [("resnet-small", "cond-logvar", 0.0316, size, 0.0) for size in (128, 256)]
    dropout = {reg: [("resnet-small", *reg, 128, rate) for rate in (0, 0.1, 0.4)]
               for reg in (("none", 0.0), ("cond-logvar", 1e-3))}  # fmt: skip
    # Every number of these rows is one of the table's, and the verdicts are what the numbers say.
    lines = [
        line for line in ledger.splitlines() if re.search(r"figure-G(10|8|4)-small", line) or "the average of" in line
    ]
    assert len(lines) == 5
    printed_numbers = set(re.findall(r"\d*\.\d{3}", printed(table).to_string().replace(" 0.", " .")))
    quoted = {number for line in lines for number in re.findall(r"(?<![\d.])\d*\.\d{3}(?!\d)", line.split("|", 4)[-1])}
    assert len(quoted) > 35
    assert quoted <= printed_numbers
    assert all(plane[key][2] < 0.1 for key in l2[:4])
    assert plane[l2[3]][0] > math.log(10) > plane[l2[4]][1]
    assert plane[l2[4]][2] > 0.5
    assert plane[logvar[4]][1] < 0.02
    assert plane[conditional[1.0]][0] > plane[logvar[4]][1]
    assert plane[conditional[1e-3]][0] < plane[logvar[1]][0]
    assert all(before < after for before, after in zip(*(plane[key] for key in batches), strict=True))
    assert max(overfit[key] for key in [*l2, *logvar]) < overfit[none]
    assert overfit[l2[4]] > overfit[l2[2]]
    assert overfit[logvar[3]] > overfit[logvar[1]]
    for keys in dropout.values():
        assert overfit[keys[0]] < overfit[keys[1]] < overfit[keys[2]]
