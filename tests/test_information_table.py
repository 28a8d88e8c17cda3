"""Tables of information: what is written, read again, and chosen from."""

import math

import pandas as pd
import pytest

from ibrobust.entropies.calibration import EntropyEstimate
from ibrobust.entropies.measurement import Measurement
from ibrobust.entropies.table import best_estimates, information_rows, information_text, read_information, wide
from ibrobust.errors import BadInput


def row(nats: float, *, bias: float = 0.0, low: float = 0.0, high: float = 10.0) -> EntropyEstimate:
    return EntropyEstimate(nats, "knn-l2", 3, 100, bias, 0.0, low, high)


def test_table_survives_its_file(tmp_path) -> None:
    rows = [("encoding_entropy", row(4.0, bias=1.5)), ("preserved_information", row(math.nan, high=math.inf))]
    table = information_rows(Measurement(rows, 0.0, 0.0), run="a", split="test", view="fresh")
    assert list(table) == ["run", "split", "view", "quantity", "estimator", "k", "n", "nats", "bias", "low", "high"]
    path = tmp_path / "information.csv"
    information_text(table).to_csv(path, index=False)
    assert path.read_text().splitlines()[1:] == [
        "a,test,fresh,encoding_entropy,knn-l2,3,100,4.000000,1.500000,0.000000,10.000000",
        "a,test,fresh,preserved_information,knn-l2,3,100,,0.000000,0.000000,inf",
    ]
    pd.testing.assert_frame_equal(read_information(path), table)


def test_a_broken_table_is_named(tmp_path) -> None:
    (tmp_path / "information.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match=r"table .*information\.csv.: no column .run.; it has a, b"):
        read_information(tmp_path / "information.csv")


@pytest.mark.parametrize(
    ("estimate", "best"),
    [(row(5.0, bias=2.0), 3.0), (row(5.0, bias=6.0), 0.0), (row(50.0), 10.0), (row(5.0, bias=math.nan), 5.0)],
)
def test_best_estimate_is_calibrated_and_within_bounds(estimate: EntropyEstimate, best: float) -> None:
    table = best_estimates(information_rows(Measurement([("q", estimate)], 0.0, 0.0), run="a"))
    assert table["best"].item() == estimate.best == best


def test_wide_has_a_row_per_run_and_prefers_the_estimator() -> None:
    rows = [
        ("a", row(1.0)),
        ("b", row(2.0, low=1.5, high=2.5)),
        ("b", EntropyEstimate(9.0, "decoder", None, 1, 0.0, 0.0, 0.0, 9.0)),
    ]
    tables = [information_rows(Measurement(rows, 0.0, 0.0), run=run) for run in ("r", "s")]
    points = wide(pd.concat(tables), ["a", "b"], estimator="knn", keys=["run"])
    assert list(points["run"]) == ["r", "s"]
    assert list(points["b"]) == [2.0, 2.0]
    assert list(points["b_high"]) == [2.5, 2.5]


def test_of_an_interval_more_than_a_nat_wide_no_number_is_told() -> None:
    estimates = [row(5.0, low=4.5, high=5.5), row(5.0, low=4.5, high=5.6), row(5.0, high=math.inf)]
    rows = information_rows(Measurement([("q", one) for one in estimates], 0.0, 0.0))
    tables = rows.assign(run=["narrow", "wide", "open"])
    told = wide(tables, ["q"], estimator="knn", keys=["run"])["q"].tolist()
    assert told[0] == estimates[0].told == 5.0
    assert math.isnan(told[1])
    assert math.isnan(estimates[1].told)
    assert told[2] == estimates[2].told == 5.0, "without a bound there is no interval, and a warning says so"
    assert wide(tables, ["q"], estimator="knn", keys=["run"], guessed=True)["q"].tolist() == [5.0, 5.0, 5.0]
