"""The command that writes the tables of docs/table.md: cells of results, and nothing else."""

import pytest

from benchmarks import table_page
from tests.test_claims_strongest import INF, STRICT, STRONGEST, broken, noisy

THREE = [*STRICT, broken(2, "strict", 0.1, 0.2, INF, INF)]

PAGE = """Words with | in them.

`python -m ibrobust.claims NAME --eps 0.1,0.2`; more words

| run | seeds | clean | strict | strict, ε = .2 |
|---|---|---|---|---|
| l2, γ = 0.1 | old |

Words behind.
"""
NOISY = """`python -m ibrobust.claims NAME --view fresh --eps 0.1`

| run | seeds | clean | strict-rand | strict, noise off | against no regulariser |
|---|---|---|---|---|---|
| l2, γ = 0.1 |
"""


def written(monkeypatch: pytest.MonkeyPatch, results: list, page: str, name: str) -> list[str]:
    monkeypatch.setattr(table_page, "stored_results", lambda _: results)
    return table_page.page(page.replace("NAME", name)).splitlines()


def test_cells_and_a_column_of_the_strongest_are_written(monkeypatch):
    lines = written(monkeypatch, [*STRICT, *STRONGEST], PAGE, "whole")
    assert lines[4] == "| run | seeds | clean | strict | strongest | strict, ε = .2 | strongest, ε = .2 |"
    assert lines[6] == ("| l2, γ = 0.1 | 2 | 1.000 ± .000 | .750 ± .000 | .375 ± .177 | .500 ± .000 | .375 ± .177 |")
    assert [lines[0], lines[8]] == ["Words with | in them.", "Words behind."]
    assert written(monkeypatch, [*STRICT, *STRONGEST], "\n".join([*lines, ""]), "again") == lines
    lines = written(monkeypatch, [*STRICT, STRONGEST[0]], PAGE, "part")
    assert lines[6] == "| l2, γ = 0.1 | 2 | 1.000 ± .000 | .750 ± .000 | .500 ± .000 |", "one seed of two is no row"
    with pytest.raises(SystemExit, match="no row for l2"):
        written(monkeypatch, STRICT, PAGE.replace("l2, γ = 0.1", "ceb, γ = 0.1"), "unknown")


def test_with_the_noise_on_a_row_stands_against_the_baseline_of_its_seed(monkeypatch):
    right = [(0, [4, 3, 3, 2, 3, 1, 3, 0]), (1, [3, 3, 3, 2, 3, 2, 3, 2])]
    monkeypatch.setattr(table_page, "BASELINE", "another")
    results = [*STRICT, *(noisy(seed, counts) for seed, counts in right)]
    lines = written(monkeypatch, results, NOISY, "alone")
    assert lines[4] == "| l2, γ = 0.1 | 2 | .875 ± .177 | .250 ± .354 | .750 ± .000 |  |"
    mine, other = "l2, γ = 0.1", "another"
    on = {(mine, seed): noisy(seed, counts) for seed, counts in right} | {
        (other, s): noisy(s, [4] * 8) for s in range(3)
    }
    off = {(mine, seed): each for seed, each in enumerate(THREE)}
    monkeypatch.setattr(table_page, "runs_of", lambda source: off if source.view == "mean" else on)
    lines = written(monkeypatch, results, NOISY, "two-seeds")
    assert lines[4].split("|")[-2].strip() == "−.750", "0 − 1 and ½ − 1, which may be alike by chance"
    on[mine, 2] = noisy(2, [3, 3, 3, 2, 3, 2, 3, 1])
    lines = written(monkeypatch, results, NOISY, "three-seeds")
    # With ¼ − 1 the mean is −¾, the deviation ¼, and Student's 97.5 % quantile with two degrees of freedom is 4.303.
    assert lines[4].split("|")[-2].strip() == "−.750 [−1.371, −.129]"


def test_with_the_noise_off_the_baseline_stands_in_rows_of_its_own(monkeypatch):
    monkeypatch.setattr(table_page, "BASELINE", "l2, γ = 0.1")
    page = PAGE.replace("strict, ε = .2 |", "against no regulariser, ε = .2 |").replace(
        "|---|---|---|---|---|", "|---|"
    )
    assert written(monkeypatch, STRICT, page, "own")[6].split("|")[-2].strip() == ""
    monkeypatch.setattr(table_page, "BASELINE", "another")
    off = {("l2, γ = 0.1", seed): each for seed, each in enumerate(THREE)}
    radii = [[0.1] * 4, [INF] * 4, [0.1, 0.1, INF, INF]]
    wrong = {("another", seed): broken(seed, "strict", *each) for seed, each in enumerate(radii)}
    monkeypatch.setattr(table_page, "runs_of", lambda _: off | wrong)
    # ½ less 0, 1 and ½ at ε = .2, and the same at .1 but for ¾: a deviation of ½.
    lines = written(monkeypatch, STRICT, page, "beside-it")
    assert lines[6].split("|")[-2].strip() == ".000 [−1.242, 1.242]"
    lines = written(monkeypatch, STRICT, page.replace(", ε = .2 |\n", " |\n"), "smallest")
    assert lines[6].split("|")[-2].strip() == ".250 [−.992, 1.492]"
