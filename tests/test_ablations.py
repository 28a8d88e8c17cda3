"""What the ledger says of regularisers, batch size and dropout, from one row per run, and those rows from cards."""

import json

import pandas as pd
import pytest

from benchmarks.ablations import NUMBERS, RECIPE, by_recipe, printed, row_of
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
