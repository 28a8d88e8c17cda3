"""What is ranked together answers the same question about the same samples; the rest stands apart, and says so."""

from dataclasses import replace

import pytest

from ibrobust.files import released_zoo
from ibrobust.robustness.comparable import groups
from ibrobust.robustness.leaderboard import leaderboard
from ibrobust.robustness.storage import first_samples, load_results
from tests.cards import asked_otherwise

PATHS = sorted((released_zoo() / "results" / "strict").glob("digits-mlp-l2-g0.1-*.parquet"))
OURS = load_results(PATHS[0])
"""A released result that has a rank."""


def later_samples(result):
    return replace(result, rows=result.rows.assign(sample=result.rows["sample"] + 7))


APART = {
    "fewer samples": (first_samples(OURS, 50), "the first 50 samples"),
    "other samples": (later_samples(OURS), "7 to 506: 500 samples"),
    "samples in between": (
        replace(OURS, rows=OURS.rows[[sample not in (3, 4) for sample in OURS.rows["sample"]]]),
        "498 samples of 0 to 499",
    ),
    "one radius": (asked_otherwise(OURS, eps=(0.05,)), "1 radius to 0.05"),
    "three radii": (asked_otherwise(OURS, eps=(0.0, 0.05, 0.1)), "2 radii to 0.1"),
    "restarts": (asked_otherwise(OURS, restarts=5), "restarts 5"),
    "generations": (asked_otherwise(OURS, generations=90), "generations 90"),
    "columns": (asked_otherwise(OURS, columns="standing"), "columns standing"),
    "seed": (asked_otherwise(OURS, seed=1), "seed 1"),
    "search": (asked_otherwise(OURS, search="exhaustive"), "search exhaustive"),
    "backend": (asked_otherwise(OURS, backend="foolbox"), "backend foolbox"),
    "norm": (asked_otherwise(OURS, norm="l2"), "digits strict l2"),
    "attacks": (asked_otherwise(OURS, attacks=tuple(OURS.attacks)), "fgsm_deepfool"),
    "an attack's settings": (
        replace(OURS, card=OURS.card.model_copy(update={"attacks": {**OURS.card.attacks, "pgd": {"steps": 10}}})),
        "10 radii to 0.1 (",
    ),
    "data": (
        asked_otherwise(OURS, data=OURS.card.data.model_copy(update={"fingerprint": "f00"})),
        "10 radii to 0.1 (",
    ),
}
"""Name → (a result that cannot be compared with ours, what its row says)."""


@pytest.mark.parametrize("case", APART)
def test_what_answers_another_question_is_ranked_apart_and_its_row_says_why(case):
    other, words = APART[case]
    board = leaderboard([OURS, other])
    assert list(board["rank"]) == [1, 1]
    assert board["group"].nunique() == 2
    assert words in groups([OURS, other])[1]


def test_the_same_question_is_ranked_in_one_group():
    weaker = replace(OURS, rows=OURS.rows.assign(pgd=OURS.rows["pgd"].clip(upper=0.05)))
    board = leaderboard([weaker, asked_otherwise(OURS, versions={"torch": "another"})])
    assert list(board["rank"]) == [1, 2]
    assert set(board["group"]) == {"digits strict linf mean, the first 500 samples, 10 radii to 0.1"}


def test_results_of_the_strongest_protocol_that_was_run_stand_first():
    rows = OURS.rows.assign(**{"soft-t": OURS.rows["apgd-t"], "survivors": OURS.rows["apgd-t"].clip(upper=0.05)})
    stronger = replace(asked_otherwise(OURS, protocol="strongest"), rows=rows.drop(columns=["fab-t", "square"]))
    board = leaderboard([OURS, stronger])
    assert list(board["rank"]) == [1, 1]
    assert list(board["protocol"]) == ["strongest", "strict"]
    assert board["robust_avg"].is_monotonic_increasing


def test_released_ranks_are_of_one_question_each():
    results = [load_results(path) for path in sorted((released_zoo() / "results").glob("strict*/*.parquet"))]
    board = leaderboard(results)
    assert board[board["rank"].notna()].groupby(["dataset", "protocol"])["group"].nunique().eq(1).all()


def test_results_of_before_pgd_had_restarts_are_ranked_with_those_of_today():
    assert "restarts" not in OURS.card.attacks["pgd"]
    today = {**OURS.card.attacks, "pgd": {**OURS.card.attacks["pgd"], "restarts": 1}}
    newer = replace(OURS, card=OURS.card.model_copy(update={"attacks": today}))
    assert leaderboard([OURS, newer])["group"].nunique() == 1
