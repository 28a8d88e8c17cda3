"""What the pictures of information show, read back from their artists; and the command that draws them."""

import contextlib
import io
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import matplotlib.colors
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ibrobust.commands import information, train
from ibrobust.entropies.table import read_information
from ibrobust.errors import BadInput, RunFailed
from ibrobust.figures.information import (
    draw_against_gamma,
    draw_diagram,
    draw_entropies,
    draw_saturation,
    draw_trajectories,
)
from ibrobust.figures.panels import (
    diagram_figure,
    entropies_figure,
    gamma_figure,
    plane_figure,
    saturation_figure,
)
from tests.quick_figures import WHOLE

NORM = LogNorm(1e-3, 1)


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


def trajectories() -> pd.DataFrame:
    """Two runs of four epochs; the second's best epoch is its third."""
    return pd.DataFrame(
        {
            "run": ["a"] * 4 + ["b"] * 4,
            "gamma": [0.0] * 4 + [0.1] * 4,
            "epoch": [1, 2, 3, 4] * 2,
            "preserved_information": [5.0, 9.0, 12.0, 13.0, 4.0, 6.0, 5.5, 5.0],
            "residual_information": [1.0, 0.6, 0.4, 0.3, 0.9, 0.5, 0.2, 0.25],
            "encoding_entropy": [5.0, 9.0, 12.0, 13.0, 4.0, 6.0, 5.5, 5.0],
        }
    )


def test_trajectories_fade_in_and_mark_best_and_last(ax: Axes) -> None:
    draw_trajectories(ax, trajectories(), NORM)
    marks = {
        (line.get_marker(), line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if len(line.get_xdata()) == 1
    }
    assert marks == {("s", 13.0, 0.3), ("o", 13.0, 0.3), ("s", 5.5, 0.2), ("o", 5.0, 0.25)}
    steps = [line for line in ax.lines if len(line.get_xdata()) == 2]
    assert [line.get_alpha() for line in steps[3:]] == sorted(line.get_alpha() for line in steps[3:])
    assert steps[-1].get_alpha() == 1
    assert matplotlib.colors.to_rgb(steps[0].get_color()) == (0, 0, 0)
    assert matplotlib.colors.to_rgb(steps[-1].get_color()) != (0, 0, 0)
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_trajectories_follow_the_epochs_whatever_the_order_of_the_rows(ax: Axes) -> None:
    draw_trajectories(ax, trajectories().sample(frac=1, random_state=0), NORM)
    steps = [tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    assert steps == [(5.0, 9.0), (9.0, 12.0), (12.0, 13.0), (4.0, 6.0), (6.0, 5.5), (5.5, 5.0)]


def test_what_keeps_less_than_a_tenth_of_a_nat_is_not_drawn(ax: Axes) -> None:
    draw_trajectories(ax, trajectories().assign(preserved_information=[0.0, 0.05, 1.0, 2.0] * 2), NORM)
    ax.figure.canvas.draw()
    assert 0.5 < ax.get_xlim()[0] < 1


def test_entropies_have_a_line_per_run_and_a_dashed_baseline(ax: Axes) -> None:
    draw_entropies(ax, trajectories(), NORM)
    drawn = {(line.get_linestyle(), *line.get_ydata()) for line in ax.lines}
    assert drawn == {("--", 5.0, 9.0, 12.0, 13.0), ("-", 4.0, 6.0, 5.5, 5.0)}


def ends(ax: Axes) -> set[tuple[float, ...]]:
    """(x0, x1, y0, y1) of every error bar."""
    segments = [segment for bars in ax.collections if hasattr(bars, "get_segments") for segment in bars.get_segments()]
    return {tuple(round(float(v), 9) for v in (*segment[:, 0], *segment[:, 1])) for segment in segments}


def curve() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "reg": ["l2", "l2"],
            "gamma": [0.1, 0.01],
            "preserved_information": [3.0, 8.0],
            "preserved_information_low": [2.5, 6.0],
            "preserved_information_high": [3.5, math.inf],
            "residual_information": [0.4, 0.2],
            "robust_avg": [0.5, 0.6],
            "clean": [0.8, 0.9],
        }
    )


def test_saturation_curve_goes_along_gamma_with_bounds_as_bars(ax: Axes) -> None:
    draw_saturation(ax, curve())
    (line,) = (line for line in ax.lines if line.get_label() == "l2")
    assert list(line.get_xdata()) == [8.0, 3.0]
    # Nothing is drawn towards a bound that is infinite.
    assert ends(ax) == {(2.5, 3.5, 0.4, 0.4), (6.0, 8.0, 0.2, 0.2)}


def test_quantities_against_gamma_have_vertical_bars(ax: Axes) -> None:
    draw_against_gamma(ax, curve(), quantity="preserved_information")
    assert ends(ax) == {(0.1, 0.1, 2.5, 3.5), (0.01, 0.01, 6.0, 8.0)}
    assert (ax.get_title(), ax.get_ylabel()) == ("preserved information", "I[X;Z] (nats)")


def test_diagram_holds_the_measured_values(ax: Axes) -> None:
    draw_diagram(
        ax,
        {"label_entropy": 2.3, "encoding_entropy": 7.0, "preserved_relevant_information": 2.1,
         "residual_information": 0.2, "redundant_information": 4.9, "label_entropy_given_input": 0.0},
    )  # fmt: skip
    words = {text.get_text() for text in ax.texts}
    assert {"I[Y;Z]\n2.10", "I[X;Y|Z]\n0.20", "I[X;Z|Y]\n4.90", "H[Y|X]\n0.00", "H[Z] = 7.00"} <= words
    assert "H[Z|X]\n" in words


def test_regions_of_the_diagram_add_up_to_its_circles() -> None:
    """Best estimates are moved into bounds one by one; the regions still add up."""
    rows = [
        ("label_entropy", "exact", 2.3, 0.0, 2.3, 2.3), ("encoding_entropy", "knn-l2", 18.0, 9.0, 5.0, 8.0),
        ("encoding_entropy_given_input", "closed-form", 0.5, 0.0, 0.5, 0.5),
        ("preserved_relevant_information", "knn-l2", 1.5, 0.0, 2.0, 2.3),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["quantity", "estimator", "nats", "bias", "low", "high"])
    figure = diagram_figure(table.assign(run="r", split="test", view="fresh"))
    words = {text.get_text() for text in figure.axes[0].texts}
    assert {"I[Y;Z]\n2.00", "I[X;Y|Z]\n0.30", "H[Z|X]\n0.50", "H[Z] = 8.00", "I[X;Z|Y]\n5.50"} <= words


MEASURE = ["--samples", "200", "--repeats", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    """Two tracked runs of a few epochs, and what the command makes of them; the current folder."""
    folder = tmp_path_factory.mktemp("information")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(WHOLE, "1")
        Path("two.toml").write_text('reg = "l2"\ngamma = [0.1, 0.01]\nepochs = 3\nlatent = 4\ntrain_samples = 300\n')
        train.main(["--recipe", "two.toml", "--track-information", "every=2"])
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            information.main([*MEASURE, "--figures"])
        Path("printed.txt").write_text(printed.getvalue())
        yield folder


def test_command_writes_every_run_split_and_view(folder: Path) -> None:
    table = read_information(folder / "results" / "information.csv")
    assert len(table.groupby(["run", "split", "view"])) == 2 * 2 * 3
    assert set(table.loc[table["view"] == "fresh", "estimator"]) == {"exact", "decoder", "knn-l2", "closed-form"}
    assert table["n"].max() == 200
    printed = (folder / "printed.txt").read_text()
    assert "· test · fresh: error" in printed
    assert "warning" not in printed


def test_command_gives_the_same_bytes_again(folder: Path) -> None:
    information.main([*MEASURE, "--out", "again"])
    assert (folder / "again" / "information.csv").read_bytes() == (folder / "results" / "information.csv").read_bytes()


def test_command_draws_every_figure(folder: Path) -> None:
    for name in ("saturation", "quantities", "information-plane", "entropies"):
        assert (folder / "results" / f"{name}.png").stat().st_size > 5000
        assert f"{name}.svg" in (folder / "printed.txt").read_text()
    assert len(list((folder / "results").glob("digits-*/diagram.png"))) == 2


def test_panels_are_regularisers_and_splits(folder: Path) -> None:
    tables = [read_information(path) for path in sorted((folder / "runs").glob("*/information.csv"))]
    tracked = pd.concat(tables).assign(reg="l2", gamma=lambda table: 0.1 * (1 + (table["run"] == tables[0]["run"][0])))
    assert sorted(tracked["epoch"].unique()) == [1, 2, 3]
    for figure in (plane_figure(tracked), entropies_figure(tracked)):
        assert [ax.get_title() for ax in figure.axes[:2]] == ["l2 · train", "l2 · test"]
    measured = read_information(folder / "results" / "information.csv").assign(reg="l2", gamma=0.1)
    assert [ax.get_title() for ax in saturation_figure(measured).axes] == ["train", "test"]
    assert len(gamma_figure(measured).axes) == 6


def test_a_finished_run_without_a_trajectory_is_trained_again_for_it(folder: Path) -> None:
    path = next((folder / "runs").glob("*/information.csv"))
    weights, expected = path.with_name("weights.safetensors").read_bytes(), path.read_bytes()
    path.unlink()
    train.main(["--recipe", "two.toml", "--track-information", "every=2"])
    assert path.read_bytes() == expected
    assert path.with_name("weights.safetensors").read_bytes() == weights


def test_a_run_that_cannot_be_measured_does_not_stop_the_others(folder: Path, capsys) -> None:
    first, second = sorted((folder / "runs").iterdir())
    Path("broken").mkdir()
    for run in (first, second):
        shutil.copytree(run, Path("broken") / run.name)
    card = Path("broken") / first.name / "card.json"
    card.write_text(card.read_text().replace('"data_fingerprint": "', '"data_fingerprint": "0'))
    with pytest.raises(RunFailed, match=f"1 of 2 runs could not be measured: {first.name}"):
        information.main(["broken", *MEASURE, "--noise", "mean", "--out", "rest"])
    assert "fingerprints differ" in capsys.readouterr().err
    assert set(read_information(Path("rest") / "information.csv")["run"]) == {second.name}


def test_a_folder_without_runs_is_named(folder: Path) -> None:
    with pytest.raises(BadInput, match="no run in 'nowhere'"):
        information.main([*MEASURE, "--out", "bad", "nowhere"])


def test_a_wrong_interval_is_one_line(folder: Path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        train.main(["--track-information", "often"])
    assert ended.value.code == 2
    assert "'often'; write every=N with N ≥ 1" in capsys.readouterr().err
