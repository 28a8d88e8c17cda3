"""Names are text: in figures `$` makes no formula, and in tables and messages a line break makes no line."""

import re
import sys
from html import unescape

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ibrobust.commands.command_line import run, table_text
from ibrobust.errors import BadInput
from ibrobust.figures.attacks import attacks_figure
from ibrobust.figures.robustness import information_figure, robustness_figure
from ibrobust.figures.style import literal, save_figure
from ibrobust.robustness.leaderboard import curves, leaderboard
from tests.refusals import exit_of

NAMES = [r"a$\frac$", "$x$", r"a\$b$c", "$", "$$", "a\nb", "ε_1^2", "a & <b>"]


@pytest.mark.parametrize("name", NAMES)
def test_matplotlib_draws_what_the_name_says(tmp_path, name):
    figure = Figure()
    figure.subplots().set_title(literal(name))
    _, svg = save_figure(figure, tmp_path / "figure")
    drawn = [unescape(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", svg.read_text(encoding="utf-8"))]
    assert name.replace("\n", "\\n") in drawn


def test_every_figure_of_a_board_shows_odd_names_as_they_are(tmp_path, monkeypatch):
    from ibrobust.commands.stored_results import stored_results
    from ibrobust.files import released_zoo

    result = stored_results([released_zoo() / "results"])[0]
    board, lines = leaderboard([result]), curves([result])
    odd = {"run": r"a$\frac$", "dataset": "$d$", "reg": r"$\reg$", "protocol": "p$^$"}
    board = board.assign(**odd)
    lines = lines.assign(run=odd["run"], protocol=odd["protocol"])
    figures = {
        "robustness": robustness_figure(board, lines), "information": information_figure(board),
        "attacks": attacks_figure(board.assign(reg=""), lines.assign(attack="$a$")),
    }  # fmt: skip
    for stem, figure in figures.items():
        _, svg = save_figure(figure, tmp_path / stem)
        drawn = svg.read_text(encoding="utf-8")
        assert "$d$" in drawn
        assert "p$^$" in drawn
        assert (r"a$\frac$" if stem == "attacks" else r"$\reg$") in drawn


def test_a_model_and_data_with_odd_names_are_evaluated(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / r"a$\frac$.py"
    file.write_text(
        "from torch import nn\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))\n", encoding="utf-8"
    )
    images = np.random.default_rng(0).random((20, 1, 4, 4), np.float32)
    np.savez(tmp_path / "d$x$\n.npz", x=images, y=np.arange(20) % 2)
    words = ["evaluate", "--model", f"{file.name}:make", "--data", "d$x$\n.npz", "--samples", "5", "--eps", "0.1"]
    code, err = exit_of(capsys, monkeypatch, *words)
    assert not code, err
    (results,) = (tmp_path / "results" / "paper").glob("*.parquet")
    assert re.fullmatch(r"a-frac-make-d-x-[0-9a-f]{8}\.parquet", results.name)
    board = pd.read_csv(tmp_path / "results" / "leaderboard.csv", encoding="utf-8")
    assert list(board["run"]) == [results.stem]
    assert list(board["dataset"]) == ["d$x$\n.npz"]


def test_a_message_is_one_line_whatever_it_names(capsys, monkeypatch):
    def refuses(_arguments):
        raise BadInput("no data set 'a\nb\x1b[2J'")

    monkeypatch.setattr(sys, "argv", ["ibrobust"])
    with pytest.raises(SystemExit):
        run(refuses)
    assert capsys.readouterr().err == "error: no data set 'a\\nb\\x1b[2J'\n"


def test_a_table_has_a_line_per_row_whatever_it_names():
    text = table_text(pd.DataFrame({"a\nb": ["c\rd", "e\u2028f"]}))
    assert [line.strip() for line in text.split("\n")] == ["a\\nb", "c\\rd", "e\\u2028f"]
