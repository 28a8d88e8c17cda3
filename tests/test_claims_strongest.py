"""The strongest protocol's number beside the strict one: of the same runs, or not at all."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ibrobust.commands import claims as command
from ibrobust.errors import BadInput
from ibrobust.recipe import Recipe
from ibrobust.robustness.card import ModelRecord, ResultCard
from ibrobust.robustness.claims import claims_table, is_claim, printed_claims
from ibrobust.robustness.readings import Readings
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.same_runs import is_strongest, left_out
from ibrobust.robustness.storage import save_results
from tests.cards import asked_otherwise, card

N = 4


def said(seed: int, protocol: str, eps: str, **settings) -> ResultCard:
    recipe = Recipe(seed=seed, reg="l2", gamma=0.1)
    model = ModelRecord(run=recipe.run_id, recipe=recipe, noise="zero-entropy", weights_sha256=f"{seed:064d}")
    asked = card(run="any", data="digits", fingerprint="0" * 64, protocol=protocol, eps=eps, **settings)
    return asked.model_copy(update={"model": model})


def about(first: int = 0) -> pd.DataFrame:
    samples = range(first, first + N)
    return pd.DataFrame({"sample": samples, "label": 0, "prediction": 0, "zero_gradient": False})


def broken(seed: int, protocol: str, *radii: float, eps: str = "0.1,0.2", first: int = 0, **settings) -> BreakingRadii:
    """A result whose last attack breaks its four samples at these radii, and FGSM each that is broken at 0.1 at 0.2."""
    told = said(seed, protocol, eps, columns="standing", **settings)
    columns = dict.fromkeys(told.attacks, np.full(N, np.inf, np.float32))
    worst = np.array(radii, np.float32)
    columns |= {"fgsm": np.where(worst < 0.15, np.float32(0.2), np.float32(np.inf)), [*told.attacks][-1]: worst}
    return BreakingRadii(about(first).assign(**columns, nan_gradient=False), told)


INF = float("inf")
STRICT = [broken(seed, "strict", 0.1, 0.2, INF, INF) for seed in (0, 1)]
"""Two seeds that keep .75 at ε = .1 and .5 at .2."""
STRONGEST = [broken(0, "strongest", 0.1, 0.1, INF, INF), broken(1, "strongest", 0.1, 0.1, 0.1, INF)]
"""The same runs, which keep .5 and .25 at both."""


def test_the_strongest_number_stands_beside_the_strict_one_of_the_same_runs():
    (row,) = claims_table(STRICT, [0.1, 0.2], STRONGEST[::-1]).to_dict("records")
    assert (row["strict@0.1"], row["strict@0.2"]) == (0.75, 0.5)
    assert (row["strongest@0.1"], row["strongest@0.2"]) == (0.375, 0.375)
    assert row["strongest@0.1_sd"] == pytest.approx(0.25 / 2**0.5)
    assert (row["seeds"], row["strongest_seeds"]) == (2, 2)
    (row,) = claims_table(STRICT, (), STRONGEST).to_dict("records")
    assert (row["strict@0.2"], row["strongest@0.2"], row["strict_avg"], row["strongest_avg"]) == (
        0.5,
        0.375,
        0.625,
        0.375,
    )
    assert left_out(STRICT, STRONGEST) == []
    assert all(map(is_strongest, STRONGEST))
    assert not any(map(is_strongest, STRICT)), "they lack its attacks"
    assert not any(map(is_claim, STRONGEST))


def test_a_mean_over_some_of_the_seeds_does_not_stand_beside_one_over_all():
    table = claims_table(STRICT, [0.1], STRONGEST[:1])
    assert table[["seeds", "strongest_seeds"]].to_numpy().tolist() == [[2, 1]]
    assert table[["strongest@0.1", "strongest@0.1_sd"]].isna().all(axis=None)
    assert printed_claims(table)[["strongest_seeds", "strongest@0.1"]].to_numpy().tolist() == [["1", ""]]
    run, why = STRICT[0].card.run, "left out of the rows of which not every seed has it"
    assert left_out(STRICT, STRONGEST[:1]) == [f"strongest: {why}: {run} (1 of 2 seeds)"]
    further = [STRONGEST[0], asked_otherwise(STRONGEST[1], generations=30)]
    assert claims_table(STRICT, [0.1], further)["strongest@0.1"].isna().all()
    assert left_out(STRICT, further) == [f"strongest: {why}: {run} (seeds differ in their question)"]


def of_other_weights(result: BreakingRadii) -> BreakingRadii:
    model = result.card.model.model_copy(update={"weights_sha256": "f" * 64})
    return replace(result, card=result.card.model_copy(update={"model": model}))


@pytest.mark.parametrize(
    "other",
    [
        broken(0, "strongest", 0.1, 0.1, INF, INF, first=1),
        replace(STRONGEST[0], rows=STRONGEST[0].rows[:3]),
        broken(0, "strongest", 0.1, 0.1, INF, INF, norm="l2"),
        of_other_weights(STRONGEST[0]),
        asked_otherwise(STRONGEST[0], data=STRONGEST[0].card.data.model_copy(update={"fingerprint": "1" * 64})),
    ],
    ids=["other samples", "fewer samples", "another norm", "other weights", "other data"],
)
def test_what_is_not_of_the_same_run_and_samples_is_left_out_and_said(other: BreakingRadii):
    table = claims_table(STRICT[:1], [0.1], [other])
    assert not any("strongest" in name for name in table)
    (sentence,) = left_out(STRICT[:1], [other])
    assert sentence.endswith(f"is of the same run, weights, samples and settings: {other.card.run}")
    both = claims_table(STRICT[:1], [0.1], [other, STRONGEST[0]])
    assert both["strongest@0.1"].tolist() == [0.5]


def test_of_two_answers_for_one_run_neither_is_taken():
    two = [STRONGEST[0], asked_otherwise(STRONGEST[0], generations=30)]
    assert not any("strongest" in name for name in claims_table(STRICT[:1], [0.1], two))
    assert left_out(STRICT[:1], two)[0].endswith(STRONGEST[0].card.run)


def test_each_radius_is_looked_up_in_both():
    fewer = [broken(0, "strongest", 0.1, 0.1, INF, INF, eps="0.1,0.3")]
    table = claims_table(STRICT[:1], [0.1, 0.2, 0.3], fewer)
    assert table[["strongest@0.1", "strongest@0.3", "strict@0.2"]].to_numpy().tolist() == [[0.5, 0.5, 0.5]]
    assert table[["strongest@0.2", "strict@0.3"]].isna().all(axis=None)
    assert claims_table(STRICT[:1], (), fewer)[["strongest@0.2", "strongest_avg"]].isna().all(axis=None)
    with pytest.raises(BadInput, match=r"nothing was attacked at 0.3; choose from 0.1, 0.2$"):
        claims_table(STRICT[:1], [0.3], [of_other_weights(fewer[0])])


def test_seeds_that_were_attacked_at_further_radii_share_a_row_at_those_that_are_asked_for():
    more = [STRICT[0], broken(1, "strict", 0.1, 0.2, 0.3, INF, eps="0.1,0.2,0.3")]
    assert claims_table(more)["seeds"].tolist() == [1, 1], "means over other radii are no seeds of one another"
    (row,) = claims_table(more, [0.2]).to_dict("records")
    assert (row["seeds"], row["strict@0.2"], row["strict@0.2_sd"]) == (2, 0.5, 0)
    table = claims_table(more, [0.2, 0.3])
    assert table["seeds"].tolist() == [1, 1], "one was not attacked at 0.3"
    assert sorted(table["strict@0.3"].dropna()) == [0.25]
    wider = [STRONGEST[0], broken(1, "strongest", 0.1, 0.1, 0.1, INF, eps="0.1,0.3")]
    (row,) = claims_table(more, [0.1], wider).to_dict("records")
    assert (row["strongest@0.1"], row["strongest_seeds"]) == (0.375, 2)
    assert left_out(more, wider, [0.1]) == []
    (sentence,) = left_out(STRICT, wider)
    assert sentence.endswith("(seeds differ in their question)")


def test_the_command_pairs_files_of_any_name_and_says_what_it_leaves_out(tmp_path, capsys):
    for name, results in (("strict", STRICT), ("strongest", STRONGEST[:1])):
        for place, result in enumerate(results):
            save_results(result, tmp_path / name / f"{name}-{place}.parquet")
    csv = tmp_path / "claims.csv"
    command.main([str(tmp_path), "--eps", "0.1", "--csv", str(csv)])
    assert "(1 of 2 seeds)" in capsys.readouterr().out
    assert pd.read_csv(csv)["strongest@0.1"].isna().all()
    save_results(STRONGEST[1], tmp_path / "strongest" / "another.parquet")
    command.main([str(tmp_path), "--eps", "0.1", "--csv", str(csv)])
    shown = capsys.readouterr().out
    assert "0.375 ± 0.177" in shown
    assert "strongest_seeds" not in shown, "as many as there are seeds"
    assert "left out" not in shown
    (row,) = pd.read_csv(csv).to_dict("records")
    assert (row["strongest@0.1"], row["strongest_seeds"]) == (0.375, 2)


def noisy(seed: int, right: list[int]) -> Readings:
    """A reading of four samples at one radius: which are right unattacked, after FGSM, the other attacks and all."""
    told = said(seed, "strict-rand", "0.1", view="fresh").model_copy(update={"draws": 16})
    parts = [
        about().assign(attack=attack, eps=np.float32(0.1), mean=True, fresh=np.arange(N) < count, averaged=True)
        for attack, count in zip(["null-attack", *told.attacks, "all"], right, strict=True)
    ]
    rows = pd.concat(parts).sort_values("sample", kind="stable")
    return Readings(rows.assign(nan_gradient=False).reset_index(drop=True), told)


def test_with_the_noise_on_the_shares_are_those_of_the_view(tmp_path, capsys):
    for seed, right in ((0, [4, 3, 3, 2, 3, 1, 3, 0]), (1, [3, 3, 3, 2, 3, 2, 3, 2])):
        save_results(noisy(seed, right), tmp_path / "strict-rand" / f"{seed}.parquet")
    save_results(STRICT[0], tmp_path / "strict" / "0.parquet")
    csv = tmp_path / "claims.csv"
    command.main([str(tmp_path), "--view", "fresh", "--csv", str(csv)])
    (row,) = pd.read_csv(csv).to_dict("records")
    shares = [row[name] for name in ("clean", "fgsm@0.1", "paper@0.1", "strict-rand@0.1", "seeds", "n")]
    assert shares == [0.875, 0.75, 0.5, 0.25, 2, 4], "all attacks, and not their smallest share"
    assert "strict-rand@0.1" in capsys.readouterr().out
    with pytest.raises(BadInput, match="strict-rand protocol with view 'averaged:8' in"):
        command.main([str(tmp_path), "--view", "averaged:8"])
    with pytest.raises(BadInput, match="view 'off': choose from mean, fresh"):
        command.main([str(tmp_path), "--view", "off"])
