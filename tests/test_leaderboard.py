"""Tables are reductions of the Parquet file alone."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ibrobust.leaderboard import curves, leaderboard, printable, quarter_radii
from ibrobust.report import stored_results
from ibrobust.storage import load_results
from ibrobust.zoo import released_zoo

PATHS = sorted((released_zoo() / "results" / "paper").glob("*.parquet"))


@pytest.fixture(scope="module")
def results():
    return stored_results([released_zoo() / "results"])


@pytest.mark.parametrize("path", PATHS[::8], ids=lambda path: path.stem)
def test_clean_curve_and_mean_recomputed_from_the_parquet_file(path):
    """With pyarrow and numpy only: nothing of the package's own reading."""
    table = pq.read_table(path)
    names = [name for name in table.column_names if name not in ("sample", "label", "prediction", "zero_gradient")]
    breaking_AN = np.stack([table[name].to_numpy() for name in names])
    radii_E = np.linspace(0, 0.1, 11).astype(np.float32)
    all_N = breaking_AN.min(axis=0)
    curve_E = [(all_N > radius).sum() / len(all_N) for radius in radii_E]
    row = leaderboard([load_results(path)]).iloc[0]
    assert row["clean"] == (table["label"].to_numpy() == table["prediction"].to_numpy()).mean() == curve_E[0]
    assert row["robust_avg"] == pytest.approx(np.mean(curve_E), abs=1e-12)
    assert row["robust@0.1"] == curve_E[-1]
    assert row["robust@0.05"] == curve_E[5]
    ours = curves([load_results(path)]).query("attack == 'all'")["robust"]
    np.testing.assert_allclose(ours, curve_E, atol=1e-12)


def test_the_released_leaderboard_is_what_the_released_results_say(results):
    released = pd.read_csv(released_zoo() / "leaderboard.csv", dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(printable(leaderboard(results)).astype(str), released)


def test_the_most_robust_come_first(results):
    assert leaderboard(results)["robust_avg"].is_monotonic_decreasing


def test_no_attack_alone_is_below_all_of_them(results):
    table = curves(results).pivot(index=["run", "protocol", "norm", "view", "eps"], columns="attack", values="robust")
    others = table.drop(columns="all")
    assert (table["all"] <= others.min(axis=1)).all()


def test_every_column_is_documented(results):
    from tests.conftest import ROOT

    text = (ROOT / "docs" / "leaderboard.md").read_text()
    for column in leaderboard(results):
        name = "robust@ε" if column.startswith("robust@") else column
        assert f"`{name}`" in text, name


@pytest.mark.parametrize(
    ("radii", "kept"),
    [
        ([i / 100 for i in range(11)], [0.02, 0.05, 0.07, 0.1]),
        ([0.0, 0.1], [0.1]),
        ([0.3], [0.3]),
        ([0.0, 0.025, 0.05, 0.075, 0.1], [0.025, 0.05, 0.075, 0.1]),
    ],
)
def test_quarter_radii(radii, kept):
    assert quarter_radii(radii) == kept
