"""Unregularised runs that differ in more than noise have lines of their own, and the legend says whose they are."""

from dataclasses import replace

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ibrobust.commands import report
from ibrobust.commands.report import print_report
from ibrobust.figures.robustness import information_figure, robustness_figure
from ibrobust.figures.style import BASELINE
from ibrobust.robustness.leaderboard import curves, leaderboard
from ibrobust.robustness.unlike import baselines_apart
from tests.test_claims_strongest import broken

INF = float("inf")


def run(seed: int, *radii: float, **fields):
    """Four samples of a run that are broken at these radii."""
    result = broken(seed, "strict", *radii)
    recipe = result.card.model.recipe.model_copy(update=fields)
    model = result.card.model.model_copy(update={"recipe": recipe, "run": recipe.run_id})
    return replace(result, card=result.card.model_copy(update={"model": model}))


NONE = {"reg": "none", "gamma": 0.0}
LONG = [run(seed, 0.1, 0.1, INF, INF, **NONE) for seed in (0, 1)]
SHORT = run(0, 0.1, INF, INF, INF, epochs=1, **NONE)
ADVERSARIAL = run(0, INF, INF, INF, INF, adversarial=0.2, **NONE)
RESULTS = [run(0, 0.1, 0.1, 0.1, INF), SHORT, *LONG, ADVERSARIAL]


def drawn(figure: Figure, heights: tuple[float, ...]) -> dict[float, tuple[str, object]]:
    """Colour and dashes of the lines that end at these heights."""
    (ax,) = (ax for ax in figure.axes if ax.get_title())
    lines = {line.get_ydata()[-1]: line for line in ax.lines if len(line.get_xdata())}
    return {height: (to_hex(lines[height].get_color()), lines[height]._dash_pattern) for height in heights}


def legend(figure: Figure) -> dict[str, tuple[str, object]]:
    (found,) = figure.legends
    handles = {text.get_text(): line for text, line in zip(found.get_texts(), found.legend_handles, strict=True)}
    lines = {text: line for text, line in handles.items() if text.startswith(("no regulariser", "adversarially"))}
    return {text: (to_hex(line.get_color()), line._dash_pattern) for text, line in lines.items()}


@pytest.fixture(scope="module")
def figures() -> list[Figure]:
    words = baselines_apart(RESULTS)
    board = leaderboard(RESULTS)
    board = board.assign(apart=board["run"].map(words).fillna(""))
    return [robustness_figure(board, curves(RESULTS)), information_figure(board)]


def test_a_run_that_stopped_early_is_told_from_one_that_did_not(figures):
    for figure in figures:
        lines, entries = drawn(figure, (0.5, 0.75, 1.0)), legend(figure)
        epochs = LONG[0].card.model.recipe.epochs
        assert list(entries) == [
            f"no regulariser, epochs {epochs}",
            "no regulariser, epochs 1",
            "adversarially trained",
        ]
        assert [*lines.values()] == [*entries.values()], "line and legend are drawn alike"
        assert len({str(dashes) for _, dashes in entries.values()}) == 3, "not by colour alone"


def test_noise_and_seeds_alone_need_no_words():
    noisy = run(3, 0.1, 0.1, INF, INF, noise="zero-entropy", **NONE)
    assert baselines_apart([RESULTS[0], *LONG, noisy, ADVERSARIAL]) == {}
    for figure in (robustness_figure(leaderboard(LONG), curves(LONG)), information_figure(leaderboard(LONG))):
        assert list(legend(figure)) == ["no regulariser"]
        assert drawn(figure, (0.5,))[0.5][0] == to_hex(BASELINE["color"])


def test_the_report_tells_them_apart_whether_rows_are_of_runs_or_of_recipes(tmp_path, monkeypatch):
    boards = []
    monkeypatch.setattr(report, "_figures", lambda board, *_: boards.append(board) or [])
    for group_by in ("run", "recipe"):
        print_report(RESULTS, tmp_path, group_by=group_by)
    for board in boards:
        words = board.query("reg == 'none' and adversarial == 0").groupby("apart")["robust_avg"].first()
        assert words.to_dict() == {"epochs 1": 0.75, f"epochs {LONG[0].card.model.recipe.epochs}": 0.5}
    assert [len(board) for board in boards] == [5, 4]
    assert "apart" not in (tmp_path / "leaderboard.csv").read_text()
