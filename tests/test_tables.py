"""Tables on disk: what comes back is what was saved, no text is a formula, and what is no table is refused."""

import re

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibrobust.errors import BadInput
from ibrobust.tables import read_table, save_table


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("+cmd|x", "'+cmd|x"), ("-cmd", "'-cmd"), ("-mlp-l2", "'-mlp-l2"),
        ("'=1", "''=1"), ("-", "'-"), ("-1-1", "'-1-1"),
        ("-0.5000", "-0.5000"), ("+1e-05", "+1e-05"), ("-inf", "-inf"), ("-.5", "-.5"), ("'a'", "'a'"), ("1=1", "1=1"),
    ],
)  # fmt: skip
def test_text_is_no_formula_and_numbers_stay_numbers(tmp_path, cell, written):
    save_table(pd.DataFrame({"cell": [cell]}), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == f"cell\n{written}\n"
    assert list(read_table(tmp_path / "a.csv", dtype=str)["cell"]) == [cell]


def test_a_header_is_no_formula(tmp_path):
    save_table(pd.DataFrame({"=1": [1], "robust@0.1": [-2.5]}), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "'=1,robust@0.1\n1,-2.5\n"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5))
def test_any_text_comes_back(tmp_path, rows):
    table = pd.DataFrame(rows, columns=["a", "=b"]).map(lambda text: text.replace("\r", "").replace("\0", ""))
    table = table.map(lambda text: text.encode("utf-8", "replace").decode())
    save_table(table, tmp_path / "a.csv")
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.csv", dtype=str, keep_default_na=False), table)


NOT_TABLES = {
    "empty": (b"", "is empty"),
    "blank": (b"\n\n", "is empty"),
    "binary": (bytes(range(256)), "utf-8"),
    "ragged": (b"a,b\n1,2\n3\n", "row 2 has 1 cells, not 2"),
    "longer": (b"a,b\n1,2,3\n4,5,6\n", "row 1 has 3 cells, not 2"),
    "twice": (b"a,a\n1,2\n", "two columns are called 'a'"),
    "torn": (b'a,b\n"1,2\n', "unexpected end"),
    "no column": (b"b,c\n1,2\n", "no column 'a'; it has b, c"),
    "no number": (b"a,b\n1,2\n1=x,3\n", "a of row 2 is '1=x', not a number"),
}


@pytest.mark.parametrize("case", NOT_TABLES)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, case):
    content, reason = NOT_TABLES[case]
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(BadInput, match=re.escape("a.csv")) as refusal:
        read_table(tmp_path / "a.csv", numbers=["a"])
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "none.csv", "No such file")):
        with pytest.raises(BadInput, match=reason):
            read_table(path)
