"""A benchmark's rows in a file: pieces are added, the same piece is replaced."""

import pandas as pd

from benchmarks.pieces import kept


def test_a_row_takes_the_place_of_an_earlier_one_with_the_same_keys(tmp_path):
    table = tmp_path / "rows.csv"
    for eps, seconds in ((0.1, 3.0), (0.2, 5.0), (0.1, 4.0)):
        rows = kept(table, {"network": "lenet", "eps": eps, "seconds": seconds}, ["network", "eps"])
    expected = pd.DataFrame({"network": ["lenet"] * 2, "eps": [0.2, 0.1], "seconds": [5.0, 4.0]})
    pd.testing.assert_frame_equal(rows, expected)
    pd.testing.assert_frame_equal(pd.read_csv(table), expected)
    assert list(tmp_path.iterdir()) == [table]


def test_without_a_file_nothing_is_kept():
    assert kept(None, {"who": "strict", "left": 3}, ["who"])["left"].tolist() == [3]
