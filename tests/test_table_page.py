"""The command that writes the tables of docs/table.md: cells of results, and nothing else."""

import pytest

from benchmarks import table_page
from tests.test_claims_strongest import STRICT, STRONGEST, noisy

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
    monkeypatch.setattr(table_page, "stored_runs", lambda _: {
        ("l2, γ = 0.1", 0): (noisy(0, right[0][1]), STRICT[0]), ("l2, γ = 0.1", 1): (noisy(1, right[1][1]), STRICT[1]),
        ("another", 0): (noisy(0, [4] * 8), STRICT[0]), ("another", 1): (noisy(1, [4] * 8), STRICT[1]),
    })  # fmt: skip
    lines = written(monkeypatch, results, NOISY, "beside")
    # 0 − 1 and ½ − 1: mean −¾, standard error ¼, and Student's 97.5 % quantile with one degree of freedom is 12.706.
    assert lines[4].split("|")[-2].strip() == "−.750 [−3.927, 2.427]"
