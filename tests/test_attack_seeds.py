"""Several seeds of a whole protocol: each seed's own answer, the worst case, and what tables say of them."""

import numpy as np
import pandas as pd
import pytest
import torch

from ibrobust.attacks import ATTACKS as ATTACKS_BY_NAME
from ibrobust.commands.evaluate import main as evaluate
from ibrobust.errors import BadInput
from ibrobust.robustness.attack_seeds import robust_SE
from ibrobust.robustness.breaking_radii import breaking_radii
from ibrobust.robustness.card import ModelRecord, card_text
from ibrobust.robustness.card_records import DataRecord
from ibrobust.robustness.leaderboard import leaderboard
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.storage import joined, load_results, save_results
from tests.cards import asked_otherwise
from tests.oracles import trained_digits
from tests.refusals import RUN

ATTACKS = {name: ATTACKS_BY_NAME[name] for name in ("fgsm", "square")}
ATTACKS["square"] = ATTACKS["square"].with_settings({"queries": 20})
"""One that does not depend on the seed, and one so short that what it breaks does."""
RADII = "0.05,0.1,0.15"


@pytest.fixture(scope="module")
def digits():
    model, x, y = trained_digits()
    return model, x[:60], y[:60]


@pytest.fixture(scope="module")
def several(digits) -> BreakingRadii:
    return breaking_radii(*digits, eps=RADII, attacks=ATTACKS, seed=5, attack_seeds=3, keep_images=True)


def filed(results: BreakingRadii) -> BreakingRadii:
    """With what the card of a file says."""
    return asked_otherwise(results, model=ModelRecord(run="a"), data=DataRecord(name="digits"))


def test_each_seed_is_the_evaluation_with_that_seed_to_the_bit(digits, several):
    for seed in (5, 6, 7):
        alone = breaking_radii(*digits, eps=RADII, attacks=ATTACKS, seed=seed)
        pd.testing.assert_frame_equal(several.of_seed(seed).rows, alone.rows, check_exact=True)
        assert several.of_seed(seed).card.settings == alone.card.settings


def test_a_column_is_the_worst_of_the_seeds_and_the_seeds_differ(several):
    each = np.stack([several.of_seed(seed).rows["square"] for seed in (5, 6, 7)])
    assert (each.min(0) == several.rows["square"]).all()
    assert (each.min(0) < each).any()
    assert several.attacks == [*ATTACKS]
    assert (several.all_attacks_N == np.minimum(each.min(0), several.rows["fgsm"])).all()


def test_the_images_prove_the_worst_case(digits, several):
    model, x, y = digits
    rows = several.evidence.rows
    worst = dict(zip(several.rows["sample"], several.all_attacks_N, strict=True))
    assert {sample: radius for sample, radius in worst.items() if radius < np.inf} == dict(
        zip(rows["sample"], rows["radius"], strict=True)
    )
    whose = torch.tensor(rows["sample"].tolist())
    distance = (several.images - x[whose]).abs().flatten(1).amax(1)
    assert (model(several.images).argmax(1) != y[whose]).all()
    assert (distance <= torch.tensor(rows["radius"].tolist()) + 1e-6).all()


def test_queries_are_those_of_all_seeds(digits, several):
    alone = [breaking_radii(*digits, eps=RADII, attacks=ATTACKS, seed=seed).card.queries for seed in (5, 6, 7)]
    assert several.card.queries["square"].forward == sum(one["square"].forward for one in alone)
    assert several.card.queries["clean"] == alone[0]["clean"]


def test_halves_joined_and_read_from_a_file_are_the_whole(digits, several, tmp_path):
    model, x, y = digits
    parts = [
        breaking_radii(model, x[rows], y[rows], ids=rows, eps=RADII, attacks=ATTACKS, seed=5, attack_seeds=3)
        for rows in (torch.arange(25), torch.arange(25, 60))
    ]
    whole = joined(parts)
    pd.testing.assert_frame_equal(whole.rows, several.rows, check_exact=True)
    save_results(filed(whole), tmp_path / "a.parquet")
    read = load_results(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read.of_seed(6).rows, several.of_seed(6).rows, check_exact=True)
    assert '"attack_seeds":3' in (tmp_path / "a.parquet").read_bytes().decode(errors="ignore").replace(" ", "")


def test_a_file_whose_column_is_not_the_worst_of_its_seeds_is_refused(several, tmp_path):
    rows = several.rows.copy()
    rows["square"] = (
        rows["square@6"].where(rows["square@6"] > rows["square"], np.float32(np.inf)).where(rows["square"] > 0, 0)
    )
    save_results(filed(BreakingRadii(rows.astype({"square": np.float32}), several.card)), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="column square is not the smallest of its attack seeds"):
        load_results(tmp_path / "a.parquet")


def test_words_and_leaderboard_say_mean_and_spread_over_seeds(several):
    robust_S = robust_SE(several)[:, -1]
    alone = [several.of_seed(seed).robust_EN[-1].mean() for seed in (5, 6, 7)]
    assert robust_S.tolist() == alone
    assert f"one seed leaves {np.mean(alone):.3f} on average (sd {np.std(alone, ddof=1):.4f}" in several.shown.about
    row = leaderboard([several]).iloc[0]
    averages = [several.of_seed(seed).robust_avg for seed in (5, 6, 7)]
    assert row["attack_seeds"] == 3
    assert row["one_seed_avg"] == pytest.approx(np.mean(averages))
    assert row["one_seed_spread"] == pytest.approx(np.std(averages, ddof=1))
    assert row["robust_avg"] <= min(averages)
    assert "attack_seeds 3" in row["group"]


def test_with_one_seed_no_table_and_no_card_has_anything_new(digits):
    once = breaking_radii(*digits, eps=0.05, attacks=["fgsm"])
    assert once.of_seed(0) is once
    assert "attack_seeds" not in leaderboard([once])
    assert "seed" not in once.shown.about
    assert "attack_seeds" not in card_text(once.card)


def test_evaluate_prints_and_writes_them(tmp_path, capsys):
    words = [f"zoo/runs/{RUN}", "--attacks", "pgd", "--eps", "0.1", "--samples", "12", "--out", str(tmp_path)]
    evaluate([*words, "--attack-seeds", "2"])
    assert "one_seed_avg" in capsys.readouterr().out
    by_seed = pd.read_csv(tmp_path / "attack_seeds.csv")
    assert by_seed["attack_seed"].tolist() == [0, 1]
    board = pd.read_csv(tmp_path / "leaderboard.csv")
    assert board["attack_seeds"].tolist() == [2]
    assert board["one_seed_avg"].item() == pytest.approx(by_seed["robust"].mean(), abs=1e-4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"attack_seeds": 0}, "attack_seeds 0"),
        ({"attack_seeds": 1001}, "attack_seeds 1001"),
        ({"attack_seeds": 2, "seed": 2**63 - 1}, "attack_seeds 2: seed 9223372036854775807 leaves none behind it"),
    ],
)
def test_seeds_that_there_are_not_are_refused(digits, given, words):
    with pytest.raises(BadInput, match=words):
        breaking_radii(*digits, eps=0.05, attacks=["fgsm"], **given)


def test_a_seed_that_was_not_run_is_refused(several):
    with pytest.raises(BadInput, match="seed 8: these results are of seed 5 to 7"):
        several.of_seed(8)


def test_an_attack_named_like_a_seeds_column_is_refused(digits):
    named = {"fgsm": ATTACKS["fgsm"], "fgsm@1": ATTACKS["fgsm"]}
    with pytest.raises(BadInput, match="attack 'fgsm@1'"):
        breaking_radii(*digits, eps=0.05, attacks=named, attack_seeds=2)
