"""FGSM, the paper's four attacks and all of them by recipe: means over seeds, from stored results alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ibrobust.commands import claims as command
from ibrobust.errors import BadInput
from ibrobust.files import released_zoo
from ibrobust.robustness.claims import claims_table, is_claim, printed_claims
from ibrobust.robustness.storage import load_results, save_results
from tests.cards import asked_otherwise
from tests.test_seeds import OTHER, SEEDS


def share(result, *attacks: str, at: float | None = None) -> float:
    """Of the rows as they are stored: how many survive these attacks, at one radius or on average over all."""
    radii = result.card.settings.radii if at is None else [at]
    worst = result.rows[[*attacks]].min(axis=1)
    return float(np.mean([(worst > np.float32(radius)).mean() for radius in radii]))


PAPER = ("fgsm", "deepfool", "bim", "pgd")


def test_a_row_is_the_mean_of_its_seeds_and_their_spread():
    table = claims_table([*SEEDS, OTHER])
    assert table["seeds"].tolist() == [1, 3]
    single, row = table.iloc[0], table.iloc[1]
    for name, attacks in (("fgsm", ("fgsm",)), ("paper", PAPER), ("strict", SEEDS[0].attacks)):
        for column, at in ((f"{name}@0.1", 0.1), (f"{name}_avg", None)):
            values = [share(result, *attacks, at=at) for result in SEEDS]
            assert row[column] == pytest.approx(np.mean(values), abs=1e-12), column
            assert row[f"{column}_sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-12), column
            assert single[column] == pytest.approx(share(OTHER, *attacks, at=at), abs=1e-12)
            assert pd.isna(single[f"{column}_sd"])
    assert row["paper_avg_sd"] > 0
    assert (row["verdicts"], row["gamma"], row["n"]) == ("3 trusted", 0.1, 500)
    text = printed_claims(table)
    assert text["strict_avg"][1] == f"{row['strict_avg']:.3f} ± {row['strict_avg_sd']:.3f}"
    assert "±" not in text["strict_avg"][0]


def test_recipes_that_differ_in_more_than_their_seed_are_no_seeds_of_one_another():
    first, second = SEEDS[:2]
    model = second.card.model
    wider = model.model_copy(update={"recipe": model.recipe.model_copy(update={"latent": 3})})
    other = replace(second, card=second.card.model_copy(update={"model": wider}))
    assert claims_table([first, second])["seeds"].tolist() == [2]
    assert claims_table([first, other])["seeds"].tolist() == [1, 1]


def test_only_strict_results_of_trained_runs_count():
    assert is_claim(OTHER)
    unknown = replace(OTHER, card=OTHER.card.model_copy(update={"model": None}))
    paper = load_results(next((released_zoo() / "results" / "paper").glob("*.parquet")))
    assert not any(map(is_claim, (unknown, paper)))


def test_the_command_prints_the_table_and_writes_its_numbers(tmp_path, capsys):
    for result in SEEDS:
        save_results(result, tmp_path / "results" / "strict" / f"{result.card.run}.parquet")
    csv = tmp_path / "claims.csv"
    command.main([str(tmp_path / "results"), "--csv", str(csv)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[8].strip() for line in lines[:1] + lines[2:3]] == ["seeds", "3"]
    written, table = pd.read_csv(csv), claims_table(SEEDS)
    assert written["paper_avg_sd"].tolist() == pytest.approx(table["paper_avg_sd"].tolist(), abs=1e-6)
    (tmp_path / "none" / "strict").mkdir(parents=True)
    with pytest.raises(BadInput, match="no results"):
        command.main([str(tmp_path / "none")])


def test_recipes_that_would_look_alike_show_the_fields_that_tell_them_apart():
    model = OTHER.card.model
    shorter = model.model_copy(update={"recipe": model.recipe.model_copy(update={"epochs": 1})})
    early = replace(OTHER, card=OTHER.card.model_copy(update={"model": shorter}))
    assert claims_table([OTHER, early, *SEEDS])["epochs"].tolist() == [1, model.recipe.epochs, model.recipe.epochs]
    assert "epochs" not in claims_table([early, *SEEDS]), "γ tells these apart"


def test_radii_that_are_named_stand_in_columns_of_their_own(tmp_path):
    table = claims_table([*SEEDS, OTHER], [0.05, 0.1])
    for column, radius in (("strict@0.05", 0.05), ("strict@0.1", 0.1)):
        values = [share(result, *result.attacks, at=radius) for result in SEEDS]
        assert table.iloc[1][column] == pytest.approx(np.mean(values), abs=1e-12)
    assert not any(name.endswith("_avg") for name in table)
    fewer = OTHER.card.settings.model_copy(update={"eps": (0.05,)})
    other = replace(OTHER, card=OTHER.card.model_copy(update={"settings": fewer}))
    assert printed_claims(claims_table([*SEEDS, other], [0.1]))["strict@0.1"].tolist()[0] == ""
    for result in SEEDS:
        save_results(result, tmp_path / "strict" / f"{result.card.run}.parquet")
    with pytest.raises(BadInput, match=r"eps: nothing was attacked at 0.15; choose from 0.0, 0.01, .*, 0.1$"):
        command.main([str(tmp_path), "--eps", "0.05,0.15"])


def test_rows_that_answer_different_questions_do_not_look_alike():
    first, second = SEEDS[:2]
    in_l2 = asked_otherwise(second, norm="l2")
    table = claims_table([first, in_l2])
    assert dict(zip(table["norm"], table["strict@0.1"], strict=True)) == {
        "linf": share(first, *first.attacks, at=0.1),
        "l2": share(in_l2, *first.attacks, at=0.1),
    }
    assert printed_claims(table)["norm"].tolist() == ["l2", "linf"]
    assert claims_table([first, asked_otherwise(second, columns="standing")])["columns"].tolist() == ["own", "standing"]
    fewer = asked_otherwise(second, eps=(0.05, 0.1))
    table = claims_table([first, fewer])
    assert {text.partition("samples, ")[2] for text in table["group"]} == {"2 radii to 0.1", "10 radii to 0.1"}
    assert "group" not in claims_table([first, fewer], [0.05]), "at that radius they answer the same question"
    assert not {"norm", "columns", "group"} & {*claims_table(SEEDS)}
