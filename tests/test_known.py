"""Numbers of docs/known.md, recomputed from the released Parquet files with nothing but a table reader."""

import re

import numpy as np
import pandas as pd
import pytest

from tests import test_table as table
from tests.conftest import ROOT

KNOWN = " ".join((ROOT / "docs" / "known.md").read_text(encoding="utf-8").split())
ZERO_ENTROPY = "no regulariser, zero-entropy noise"
EARLY = "no regulariser, no noise, stopped after one epoch"


@pytest.mark.parametrize(
    ("sentence", "data", "run", "attacks", "radius"),
    [
        (r"without a regulariser keeps (\.\d+) ± (\.\d+) of 1000 digits", "mnist", ZERO_ENTROPY, table.STRICT, 0.1),
        (r"γ = 0\.1 it keeps (\.\d+) ± (\.\d+), although", "mnist", "l2, γ = 0.1", table.STRICT, 0.1),
        (r"although FGSM says (\.\d+) where", "mnist", "l2, γ = 0.1", ["fgsm"], 0.1),
        (r"where it says (\.\d+) of the first", "mnist", ZERO_ENTROPY, ["fgsm"], 0.1),
        (r"at γ = 0\.1 keeps (\.\d+) ± (\.\d+) instead", "mnist", "cond-logvar, γ = 0.1", table.STRONGEST, 0.1),
        (r"instead of (\.\d+) ± (\.\d+)\)", "mnist", "cond-logvar, γ = 0.1", table.STRICT, 0.1),
        (r"at γ = 1e-3 keeps (\.\d+) ± (\.\d+)", "mnist", "weight decay, γ = 0.001", table.STRICT, 0.1),
        (r"one epoch of five (\.\d+) ± (\.\d+)", "mnist", EARLY, table.STRICT, 0.1),
        (r"at ε = 0\.2 (\.\d+) ± (\.\d+)", "mnist", "adversarially trained, ε = 0.2", table.STRICT, 0.1),
        (r"less than the (\.\d+) ± (\.\d+) without", "fashion-mnist", ZERO_ENTROPY, table.STRICT, 0.05),
        (r"a little more \((\.\d+) ± (\.\d+), a difference", "fashion-mnist", "dvib, γ = 0.1", table.STRICT, 0.05),
        (r"and weight decay \((\.\d+)\)", "fashion-mnist", "weight decay, γ = 0.001", table.STRICT, 0.05),
        (r"stopping early \((\.\d+)\)", "fashion-mnist", EARLY, table.STRICT, 0.05),
        (r"without \((\.\d+) ± (\.\d+) and", "cifar10-jpeg", "l2, γ = 0.1", table.STRICT, 0.008),
        (r"and (\.\d+) ± (\.\d+) at ε = \.008", "cifar10-jpeg", "no regulariser, no noise", table.STRICT, 0.008),
    ],
)  # fmt: skip
def test_numbers_are_those_of_the_released_rows(
    sentence: str, data: str, run: str, attacks: list[str], radius: float
) -> None:
    (told,) = re.findall(sentence, KNOWN)
    mean, *spread = map(float, [told] if isinstance(told, str) else told)
    protocol = "strongest" if attacks is table.STRONGEST else "strict"
    shares = [table.left(rows, attacks, radius) for rows in table.released(data, protocol)[run]]
    assert mean == pytest.approx(np.mean(shares), abs=5.1e-4)
    assert not spread or spread == [pytest.approx(np.std(shares, ddof=1), abs=5.1e-4)]


@pytest.mark.parametrize(
    ("sentence", "run", "attacks"),
    [
        (r"\(\.\d+ to (\.\d+) for l2", "digits-mlp-l2-g0.1-s0-*", ["fgsm"]),
        (r"\(\.\d+ and (\.\d+)\)", "digits-mlp-l2-g0.1-s0-*", table.STRICT),
    ],
)
def test_numbers_of_digits_are_those_of_the_released_rows(sentence: str, run: str, attacks: list[str]) -> None:
    (told,) = re.findall(sentence, KNOWN)
    (path,) = (ROOT / "zoo" / "results" / "strict").glob(f"{run}.parquet")
    assert float(told) == pytest.approx(table.left(pd.read_parquet(path), attacks), abs=5e-4)
