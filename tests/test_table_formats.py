"""`report --format`: the leaderboard for a paper or a page, in which names are text and digits stay as they are."""

import re

import numpy as np
import pandas as pd
import pytest

from ibrobust.commands import report
from ibrobust.commands.table_formats import as_latex, as_markdown
from ibrobust.files import released_zoo

ODD = "a|b_c*d`e\\f<script>[x](y)$z$ & #1 ~ ε\n="


def markdown_cells(text: str) -> list[list[str]]:
    """The table as a reader of Markdown sees it: split at the pipes that are not escaped, escapes taken off."""
    rows = [re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1] for line in text.splitlines()]
    return [[re.sub(r"\\(\W|_)", r"\1", cell.strip()) for cell in row] for row in rows]


def test_markdown_shows_names_and_digits_as_they_are():
    table = pd.DataFrame({"rob|ust@ε": ["0.9500", ODD], "n": [500, 7], "nats": [np.nan, 1.5]})
    header, rule, *rows = markdown_cells(as_markdown(table))
    assert header == ["rob|ust@ε", "n", "nats"]
    assert all(set(cell) <= {":", "-"} for cell in rule)
    assert rows == [["0.9500", "500", ""], [ODD.replace("\n", "\\n"), "7", "1.5"]]
    assert not re.search(r"(?<!\\)[<>*_`$\[\]]", as_markdown(table))


def test_latex_shows_names_and_digits_as_they_are():
    table = pd.DataFrame({"robust_avg": ["0.9500", "[2]"], "±": [r"50% {a}", r"a\b^c~d|<ε>"]})
    assert as_latex(table).splitlines() == [
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{ll}",
        r"\toprule",
        r"robust\_avg & $\pm$ \\",
        r"\midrule",
        r"0.9500 & 50\% \{a\} \\",
        r"{[}2{]} & a\textbackslash b\textasciicircum c\textasciitilde d$|$$<$$\varepsilon$$>$ \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@pytest.fixture
def results(tmp_path, monkeypatch):
    """One released result; nothing is drawn."""
    monkeypatch.setattr(report, "_figures", lambda *_: [])
    place = tmp_path / "results" / "paper"
    place.mkdir(parents=True)
    source = released_zoo() / "results" / "paper" / "digits-mlp-l2-g0.1-s0-e99535be.parquet"
    (place / source.name).write_bytes(source.read_bytes())
    return place.parent


def test_a_number_is_told_where_its_bounds_are_close():
    ends = pd.DataFrame({"_low": ["1.200", "1.000", "", "0.100"], "_high": ["2.100", "2.500", "", ""]})
    bounds = {f"{name}{end}": ends[end] for name in ("encoding_entropy", "preserved_information") for end in ends}
    board = pd.DataFrame({"preserved_information": ["1.500", "1.700", "1.900", "0.300"], "encoding_entropy": "2.000"})
    shown = report._shown(board.assign(run="a", norm="linf", view="mean", backend="native", columns="own", **bounds))
    assert shown["I[X;Z]"].tolist() == ["1.500", "", "1.900", "0.300"]
    assert shown["I[X;Z]_high"].tolist() == ["2.100", "2.500", "", ""]
    assert board["preserved_information"][1] == "1.700"


def test_report_writes_the_columns_that_it_prints(results, capsys):
    out = results.parent / "out"
    report.main([str(results), "--out", str(out), "--format", "markdown", "--format", "latex", "--format", "csv"])
    printed = capsys.readouterr().out
    header, _, row = markdown_cells((out / "leaderboard.md").read_text(encoding="utf-8"))
    assert printed.splitlines()[0].split() == header
    assert "digits-mlp-l2-g0.1-s0-e99535be" in row
    full = pd.read_csv(out / "leaderboard.csv", dtype=str)
    assert row[header.index("clean")] == full["clean"][0]
    latex = (out / "leaderboard.tex").read_text(encoding="utf-8")
    assert f" & {full['clean'][0]} & {full['robust_avg'][0]} & " in latex
    assert str(out / "leaderboard.md") in printed
    assert str(out / "leaderboard.tex") in printed


def test_without_a_format_the_csv_alone_is_written(results):
    out = results.parent / "out"
    report.main([str(results), "--out", str(out)])
    assert sorted(path.name for path in out.iterdir()) == ["curves.csv", "leaderboard.csv"]
