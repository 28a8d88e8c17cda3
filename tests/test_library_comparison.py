"""Our table beside a library's: what fell to one side only, and where ours is too weak."""

from dataclasses import replace

import numpy as np
import pytest

from ibrobust.attacks import ATTACKS
from ibrobust.backends.comparison import compared, too_weak
from ibrobust.errors import BadInput
from ibrobust.robustness.breaking_radii import breaking_radii
from ibrobust.robustness.results import BreakingRadii
from tests.oracles import linear


def table_of(breaking: dict[str, list[float]], radii: list[float]) -> BreakingRadii:
    problem = linear("linf", samples=len(next(iter(breaking.values()))))
    results = breaking_radii(problem.model, problem.x, problem.y, eps=radii, attacks={"fgsm": ATTACKS["fgsm"]})
    columns = {name: np.array(values, dtype=np.float32) for name, values in breaking.items()}
    return replace(results, rows=results.rows.drop(columns="fgsm").assign(**columns))


def test_comparison_counts_what_fell_to_one_side_only() -> None:
    inf = np.inf
    ours = table_of({"fgsm": [0.1, 0.1, inf, inf], "bim": [inf] * 4, "apgd": [0.1] * 4}, [0.1, 0.2])
    theirs = table_of({"fgsm": [0.1, 0.2, 0.2, inf], "bim": [inf] * 4}, [0.1, 0.2])
    table = compared(ours, theirs).set_index(["attack", "eps"])
    assert table.index.unique("attack").tolist() == ["fgsm", "bim", "all"]
    assert table.loc[("fgsm", 0.1)].to_dict() == {
        "n": 4, "ours": 2, "theirs": 3, "only_to_ours": 1, "only_to_theirs": 0, "agree": 0.75,
    }  # fmt: skip
    assert table.loc[("fgsm", 0.2)].to_dict() == {
        "n": 4, "ours": 2, "theirs": 1, "only_to_ours": 0, "only_to_theirs": 1, "agree": 0.75,
    }  # fmt: skip
    assert table.loc["bim", "agree"].tolist() == [1, 1]


def test_too_weak_names_the_radius_and_the_strongest_library() -> None:
    inf = np.inf
    ours = table_of({"fgsm": [0.1, inf, inf, inf]}, [0.1, 0.2])
    weaker = table_of({"fgsm": [0.2, 0.2, inf, inf]}, [0.1, 0.2])
    stronger = table_of({"fgsm": [0.2, 0.2, 0.2, inf]}, [0.1, 0.2])
    assert too_weak(ours, {"weaker": ours}).empty
    rows = too_weak(ours, {"weaker": weaker, "stronger": stronger}).to_dict("records")
    assert rows == [{"eps": 0.2, "ours": 3, "theirs": 1, "backend": "stronger"}]


def test_only_the_same_samples_and_radii_are_compared() -> None:
    results = table_of({"fgsm": [0.1, 0.1]}, [0.1])
    other_radii = table_of({"fgsm": [0.1, 0.1]}, [0.2])
    other_samples = replace(results, rows=results.rows.assign(sample=[1, 2]))
    for other in (other_radii, other_samples):
        with pytest.raises(BadInput, match="same samples at the same radii"):
            compared(results, other)
