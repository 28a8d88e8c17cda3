"""Numbers of docs/known.md, recomputed from the released Parquet files with nothing but a table reader."""

import re

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT

STRICT = ROOT / "zoo" / "results" / "strict"
KNOWN = " ".join((ROOT / "docs" / "known.md").read_text(encoding="utf-8").split())


def left(run: str, attacks: list[str] | None = None) -> float:
    """The share of samples that no attack, or none of these, breaks within ε = 0.1."""
    (path,) = STRICT.glob(f"{run}.parquet")
    table = pd.read_parquet(path)
    breaking = table[attacks or [name for name in table if table[name].dtype == np.float32]].min(axis=1)
    return float((breaking > np.float32(0.1)).mean())


@pytest.mark.parametrize(
    ("sentence", "run", "attacks"),
    [
        (r"without a regulariser keeps (\.\d+) of 200 digits", "mnist-lenet-none-g0-s0-d42d58b8", None),
        (r"γ = 0\.1 it keeps (\.\d+), although", "mnist-lenet-l2-g0.1-s0-9348a0eb", None),
        (r"although FGSM says (\.\d+) where", "mnist-lenet-l2-g0.1-s0-9348a0eb", ["fgsm"]),
        (r"where it says (\.\d+) of the first", "mnist-lenet-none-g0-s0-d42d58b8", ["fgsm"]),
        (r"1e-3, which is no bottleneck, keeps (\.\d+)", "mnist-lenet-weight-decay-g0.001-s0-*", None),
        (r"adversarial training at ε = 0\.2 keeps (\.\d+)", "mnist-lenet-none-adv0.2-g0-s0-*", None),
        (r"\(\.\d+ to (\.\d+) for l2", "digits-mlp-l2-g0.1-s0-*", ["fgsm"]),
        (r"\(\.\d+ and (\.\d+)\)", "digits-mlp-l2-g0.1-s0-*", None),
    ],
)  # fmt: skip
def test_numbers_are_those_of_the_released_rows(sentence: str, run: str, attacks: list[str] | None) -> None:
    (told,) = re.findall(sentence, KNOWN)
    assert float(told) == pytest.approx(left(run, attacks), abs=5e-4)


def test_no_bottleneck_keeps_more_digits_than_none_of_them() -> None:
    names = [path.stem for path in STRICT.glob("mnist-lenet-*.parquet")]
    bottlenecks = [name for name in names if "-none-" not in name and "weight-decay" not in name]
    assert len(bottlenecks) == 18
    assert max(map(left, bottlenecks)) < left("mnist-lenet-none-g0-s0-d42d58b8")
