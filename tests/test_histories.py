"""Histories of runs as one table, and what is read off it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibrobust.commands.histories import figures, histories, main, summary_lines
from ibrobust.commands.train import main as train_main
from ibrobust.errors import BadInput
from ibrobust.figures.histories import multiplier_shift, pathology_figure
from ibrobust.subjects.zoo import find_runs


def curves(factor: float) -> pd.DataFrame:
    """l2's error falls and rises around γ = 0.01; DVIB's does the same `factor` later."""
    gamma = np.logspace(-4, 0, 9)

    def error(gamma: np.ndarray) -> np.ndarray:
        return np.exp(np.log(0.01) + 0.2 * (np.log(gamma) - np.log(0.01)) ** 2)

    l2 = pd.DataFrame({"reg": "l2", "gamma": gamma, "test_error": error(gamma)})
    return pd.concat([l2, pd.DataFrame({"reg": "dvib", "gamma": gamma, "test_error": error(gamma / factor)})])


@settings(max_examples=30)
@given(factor=st.floats(0.2, 5))
def test_a_shift_that_was_put_in_is_found(factor: float) -> None:
    # The grid has steps of a factor 3.2, between which curves are straight: 5 % is what that costs.
    assert multiplier_shift(curves(factor), "test_error", "dvib", "l2") == pytest.approx(factor, rel=0.05)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Tiny runs of three kinds on digits."""
    folder = tmp_path_factory.mktemp("runs")
    small = ["--train-samples", "200", "--epochs", "2", "--latent", "4", "--runs", str(folder), "--device", "cpu"]
    for likelihood in ("decoder", "prediction"):
        train_main(["--likelihood", likelihood, "--latent-samples", "2", *small])
    train_main(["--noise", "none", "--shrink-latent", "0.5", *small])
    for reg in ("l2", "dvib"):
        for gamma in ("0.01", "0.1", "1"):
            train_main(["--reg", reg, "--gamma", gamma, *small])
    return folder


def test_the_table_has_a_row_per_run_and_epoch_and_the_cards_metrics(runs) -> None:
    found = find_runs([runs])
    table = histories(found)
    assert len(table) == 2 * len(found) == 18
    assert not table.duplicated(["run", "epoch"]).any()
    for run in found:
        rows = table[table["run"] == run.card.run]
        assert rows["epoch"].tolist() == [1, 2]
        assert set(rows["test_error"]) == {run.card.metrics["test"]["error"]}
        assert set(rows["gamma"]) == {run.card.recipe.gamma}


def test_pictures_and_numbers_are_those_that_the_runs_allow(runs) -> None:
    table = histories(find_runs([runs]))
    assert set(figures(table)) == {"pathology", "cross_entropies", "multipliers"}
    lines = summary_lines(table)
    starts = ["noise none", "trained with decoder", "trained with prediction"]
    assert [line.split(",")[0] for line in lines[:3]] == starts
    assert len(lines) == 5
    plain = table[table["rescaled_error"].isna() & (table["reg"] == "l2")]
    assert figures(plain.dropna(axis=1, how="all")) == {}


def test_legends_stand_below_the_panels_and_hide_nothing(runs) -> None:
    for figure in figures(histories(find_runs([runs]))).values():
        figure.draw_without_rendering()
        (legend,) = figure.legends
        assert legend.get_texts()
        top = legend.get_window_extent().y1
        assert all(ax.get_legend() is None and ax.get_tightbbox().y0 >= top for ax in figure.axes)


def test_entropies_without_bounds_are_not_drawn(runs) -> None:
    """Histories of an earlier version hold raw estimates, of which 25 nats may be bias."""
    table = histories(find_runs([runs])).drop(
        columns=["encoding_entropy_low", "encoding_entropy_high", "encoding_entropy_raw"]
    )
    assert "pathology" not in figures(table)
    assert "train them again" in summary_lines(table)[0]


def test_the_rescaled_latents_entropy_is_drawn_between_its_bounds(runs) -> None:
    rows = pd.DataFrame({"epoch": [1, 2], "rescaled_error": [0.1, 0.9]})
    noisy = rows.assign(
        noise="zero-entropy", encoding_entropy=[20.0, 0.2], encoding_entropy_raw=[50.0, 25.0],
        encoding_entropy_low=[0.0, 0.0], encoding_entropy_high=[30.0, 0.5],
    )  # fmt: skip
    endless = dict.fromkeys(("encoding_entropy", "encoding_entropy_low", "encoding_entropy_high"), -np.inf)
    quiet = rows.assign(noise="none", encoding_entropy_raw=[25.0, -60.0], **endless)
    ax = pathology_figure(pd.concat([noisy, quiet])).axes[0]
    outline = {(float(x), float(y)) for band in ax.collections for path in band.get_paths() for x, y in path.vertices}
    assert {(1.0, 0.0), (1.0, 30.0), (2.0, 0.5)} <= outline
    dotted = [list(line.get_ydata()) for line in ax.lines if line.get_linestyle() == ":"]
    assert sorted(dotted) == [[25.0, -60.0], [50.0, 25.0]]
    assert [text.get_text().splitlines()[0] for text in ax.texts] == ["H[Z] = −∞ at every epoch"]


def test_the_command_writes_the_same_bytes_twice(runs, tmp_path, capsys, whole_figures) -> None:
    shrinking = next(run for run in find_runs([runs]) if run.card.recipe.shrink_latent < 1)
    for out in ("one", "two"):
        main([str(shrinking.folder), "--out", str(tmp_path / out)])
    assert "histories.csv  1 runs" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["histories.csv", "pathology.png", "pathology.svg"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_run_without_history_is_named(runs, tmp_path) -> None:
    import shutil

    run = find_runs([runs])[0]
    bare = tmp_path / run.card.run
    shutil.copytree(run.folder, bare)
    (bare / "history.csv").unlink()
    with pytest.raises(BadInput, match=r"has no history.csv"):
        histories(find_runs([bare]))
