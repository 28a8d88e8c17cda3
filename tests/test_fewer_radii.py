"""`report --eps`: results at some of their radii, beside those that were attacked at these alone."""

import csv
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from ibrobust import breaking_radii, noisy_readings
from ibrobust.commands import compare, report
from ibrobust.commands.stored_results import stored_entries
from ibrobust.errors import BadInput
from ibrobust.files import released_zoo
from ibrobust.page.entries import Entry
from ibrobust.page.pictures import chosen_samples, pictures_of
from ibrobust.robustness.checked_rows import check_rows
from ibrobust.robustness.fewer_radii import at_radii
from ibrobust.robustness.leaderboard import leaderboard
from ibrobust.robustness.storage import save_results
from tests.cards import asked_otherwise
from tests.page_results import kept_results
from tests.test_seeds import OURS, of_seed

EPS = [0.02, 0.05, 0.1]
KEPT = [0.05, 0.1]


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    linear = torch.nn.Linear(16, 3)
    return torch.nn.Sequential(torch.nn.Flatten(), linear, torch.nn.Tanh(), torch.nn.Linear(3, 3))


@pytest.fixture(scope="module")
def samples(model) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    return x, torch.where(torch.arange(60) % 10 == 0, (y + 1) % 3, y)


@pytest.mark.parametrize("columns", ["own", "standing"])
def test_the_answer_is_that_of_an_evaluation_at_these_radii(model, samples, columns):
    asked = {"protocol": "paper", "search": "exhaustive", "columns": columns}
    more = breaking_radii(model, *samples, eps=EPS, **asked)
    alone = breaking_radii(model, *samples, eps=KEPT, **asked)
    part = at_radii(more, [0.1, 0.05])
    assert part.card.settings == alone.card.settings
    assert len(set(more.rows["fgsm"])) == 5, "0, each radius, and never"
    assert np.array_equal(part.robust_EN, alone.robust_EN)
    assert np.array_equal(part.robust_EN, more.robust_EN[1:])
    assert part.first_breakers == alone.first_breakers
    if columns == "own":
        pd.testing.assert_frame_equal(part.rows, alone.rows)
    largest = at_radii(more, [0.02])
    assert set(largest.rows["pgd"]) == {np.float32(0), np.float32(0.02), np.float32(np.inf)}
    assert np.array_equal(largest.robust_EN, more.robust_EN[:1])


def test_with_the_noise_on_the_rows_of_the_other_radii_are_left_out(model, samples):
    x, y = samples
    noisy = torch.nn.Sequential(model, torch.nn.Dropout(0.3)).train()
    more = noisy_readings(noisy, x[:20], y[:20], eps=EPS, attacks=["fgsm", "bim"], health="ignore")
    part = at_radii(more, KEPT)
    assert len(part.rows) == len(more.rows) * 2 / 3
    for attack in ("null-attack", "fgsm", "bim", "all"):
        assert np.array_equal(part.right_EN(attack, "fresh"), more.right_EN(attack, "fresh")[1:])
    assert part.sample_N.equals(more.sample_N)
    assert np.array_equal(part.correct_N, more.correct_N)


def test_each_attack_seed_is_rounded_and_what_lacks_a_radius_is_none(model, samples):
    both = breaking_radii(model, *samples, eps=EPS, attacks=["fgsm", "pgd"], attack_seeds=2, search="exhaustive")
    part = at_radii(both, KEPT)
    for seed in (0, 1):
        assert np.array_equal(part.of_seed(seed).robust_EN, both.of_seed(seed).robust_EN[1:])
    assert at_radii(both, [0.05, 0.2]) is None
    assert at_radii(both, [0.3]) is None
    check_rows(part.rows, part.card)
    with pytest.raises(BadInput, match=r"holds 0\.02, which is no radius of its card"):
        check_rows(both.rows, part.card)


def report_of(*results, folder, eps=None, more=()) -> list[dict[str, str]]:
    for at, result in enumerate(results):
        save_results(result, folder / "results" / "strict" / f"{at}.parquet")
    flags = [] if eps is None else ["--eps", eps]
    report.main([str(folder / "results"), "--out", str(folder / "report"), *flags, *more])
    with (folder / "report" / "leaderboard.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_seeds_attacked_at_further_radii_share_a_row_at_those_named(tmp_path, capsys):
    first, second = of_seed(OURS, 0), of_seed(OURS, 1)
    fewer = at_radii(second, [0.05, 0.1])
    apart = report_of(first, fewer, folder=tmp_path / "apart")
    assert [row["seed"] for row in apart] == ["0", "1"], "a row each"
    (row,) = report_of(first, fewer, folder=tmp_path / "one", eps="0.05,0.1", more=["--fail-below", "0.1@0.05"])
    assert row["seeds"] == "2"
    for radius in (0.05, 0.1):
        shares = [(seed.all_attacks_N > np.float32(radius)).mean() for seed in (first, second)]
        assert float(row[f"robust@{radius:g}"]) == pytest.approx(np.mean(shares), abs=1e-4)
    assert "robust@0.02" not in row
    assert "left out" not in capsys.readouterr().err


def test_what_was_not_attacked_there_is_named_and_left_out(tmp_path, capsys):
    first, fewer = of_seed(OURS, 0), at_radii(of_seed(OURS, 1), [0.05, 0.1])
    (row,) = report_of(first, fewer, folder=tmp_path, eps="0.02,0.1")
    assert row["run"] == first.card.run
    assert f"note: left out, not attacked at 0.02, 0.1: {fewer.card.run}\n" in capsys.readouterr().err
    with pytest.raises(BadInput, match=r"^--eps 0\.02, 0\.3: no result was attacked at each of these; there are 0, 0"):
        report_of(folder=tmp_path, eps="0.02,0.3")
    with pytest.raises(BadInput, match="radii"):
        report_of(folder=tmp_path, eps="much")


def test_the_released_seeds_of_cifar_stand_together(tmp_path):
    places = [released_zoo() / "table" / "cifar10-jpeg"]
    results = [entry.results for entry in stored_entries(places)]
    assert len({tuple(result.card.settings.radii) for result in results}) == 2
    parts = [at_radii(result, [0.008, 0.016]) for result in results]
    assert leaderboard(parts)["group"].nunique() == 1


def test_pictures_on_the_page_stay_those_of_the_files(tmp_path):
    """Evidence is of what was evaluated, not of what is shown."""
    entries = kept_results(tmp_path)
    before = entries[0]
    radii = before.results.card.settings.radii[-1:]
    shown = Entry(at_radii(before.results, radii), before.files, whole=before.results)
    samples = chosen_samples(entries, 4)
    assert pictures_of(shown, samples) == pictures_of(before, samples) != []
    assert pictures_of(replace(shown, whole=None), samples) == []
    assert asked_otherwise(before.results, eps=(radii[0],)).card == shown.results.card


def test_two_files_are_compared_at_radii_that_both_have(tmp_path, capsys):
    first, second = of_seed(OURS, 0), of_seed(OURS, 2)
    paths = [str(tmp_path / "strict" / name) for name in ("a.parquet", "b.parquet")]
    save_results(first, tmp_path / "strict" / "a.parquet")
    save_results(at_radii(second, KEPT), tmp_path / "strict" / "b.parquet")
    with pytest.raises(BadInput, match="radii is"):
        compare.main(paths)
    compare.main([*paths, "--eps", "0.05,0.1", "--resamples", "10"])
    told = capsys.readouterr().out
    for radius in KEPT:
        shares = [(each.all_attacks_N > np.float32(radius)).mean() for each in (first, second)]
        (line,) = (line for line in told.splitlines() if line.split()[:1] == [f"{radius:g}"])
        assert [float(share) for share in line.split()[1:3]] == pytest.approx(shares, abs=1e-4)
    with pytest.raises(BadInput, match=r"^--eps 0\.02: .*b\.parquet has the radii 0\.05, 0\.1$"):
        compare.main([*paths, "--eps", "0.02"])
