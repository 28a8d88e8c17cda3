"""What is certain stands beside what attacks leave: in the leaderboard, the curves, the figures and the page."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ibrobust.commands.report import main as report
from ibrobust.errors import BadInput
from ibrobust.figures.attacks import draw_attacks
from ibrobust.figures.robustness import draw_robustness, from_clean
from ibrobust.page.board import board_of
from ibrobust.page.entries import Entry
from ibrobust.robustness.card import ModelRecord
from ibrobust.robustness.certified import CERTIFIED_SAMPLES, certified_shares, model_digest
from ibrobust.robustness.leaderboard import curves, leaderboard
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.storage import save_results
from tests.cards import card

RADII = "0,1/255,2/255"


def result(breaking: list[float], **about) -> BreakingRadii:
    rows = pd.DataFrame(
        {"sample": np.arange(len(breaking)), "label": 0, "prediction": np.equal(breaking, 0) * 1,
         "zero_gradient": False, "fgsm": np.float32(breaking)}
    )  # fmt: skip
    return BreakingRadii(rows, card(run="one", data="digits", eps=RADII, attacks="fgsm", **about))


def certify(folder, results, certified: dict[int, float], digest: str | None = None) -> None:
    of = model_digest(results.card) if digest is None else digest
    lines = [f"one,{of},{sample},{np.format_float_positional(np.float32(eps))}\n" for sample, eps in certified.items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CERTIFIED_SAMPLES).write_text("run,model,sample,certified\n" + "".join(lines))


@pytest.fixture
def stored(tmp_path):
    """Ten samples: one wrong, the others broken nowhere; five of them certified."""
    made = result([0] + [np.inf] * 9)
    save_results(made, tmp_path / "paper" / "one.parquet")
    certify(tmp_path, made, {0: 0.0, 1: 0.0, 2: 1 / 255, 3: 1 / 255, 4: 2 / 255})
    return Entry(made, (tmp_path / "paper" / "one.parquet",))


def test_shares_count_what_is_certain_of_all_samples(stored):
    np.testing.assert_allclose(stored.certain, [0.9, 0.3, 0.1])


def test_other_models_norms_and_samples_do_not_count(tmp_path):
    made = result([np.inf] * 4)
    certify(tmp_path, made, {0: 2 / 255}, digest="0" * 16)
    assert certified_shares(made, [tmp_path]) is None
    certify(tmp_path, made, {7: 2 / 255})
    assert certified_shares(made, [tmp_path]) is None
    certify(tmp_path, made, {1: 2 / 255})
    np.testing.assert_allclose(certified_shares(made, [tmp_path, tmp_path / "nowhere"]), [1, 0.25, 0.25])
    other = ModelRecord(run="one", weights_sha256="a" * 64)
    assert model_digest(made.card.model_copy(update={"model": other})) != model_digest(made.card)
    l2 = made.card.model_copy(update={"settings": made.card.settings.model_copy(update={"norm": "l2"})})
    assert certified_shares(BreakingRadii(made.rows, l2), [tmp_path]) is None


def test_a_file_that_is_no_table_of_certificates_is_one_line(stored, tmp_path):
    (tmp_path / CERTIFIED_SAMPLES).write_text("run,model,sample,certified\none,a,1,much\n")
    with pytest.raises(BadInput, match="certified of row 1 is 'much', not a number"):
        _ = stored.certain


def test_leaderboard_and_curves_hold_both_ends(stored):
    results = [stored.results, result([np.inf] * 10)]
    board = leaderboard(results, [stored.certain, None]).sort_values("clean")
    assert board["certified@0.00392157"].tolist()[0] == 0.3
    assert board["certified@0.00392157"].isna().tolist() == [False, True]
    columns = list(board)
    assert columns.index("certified@0.00392157") == columns.index("robust@0.00392157") + 1
    table = curves(results, [stored.certain, None])
    assert table.query("attack == 'all'")["certified"].tolist()[:3] == [0.9, 0.3, 0.1]
    assert table["certified"].notna().sum() == 3
    assert "certified" not in curves(results)
    assert list(leaderboard(results)) == [name for name in columns if not name.startswith("certified@")]


def band(ax) -> list[tuple[float, float]]:
    """Lowest and highest point of each band."""
    paths = [collection.get_paths()[0].vertices for collection in ax.collections]
    return [(float(points[:, 1].min()), float(points[:, 1].max())) for points in paths]


def test_figures_draw_the_band_from_certain_to_attacked():
    about = {"run": "a", "gamma": 1e-2, "adversarial": 0.0, "verdict": "trusted", "attack": "all"}
    line = pd.DataFrame({**about, "eps": [0.05, 0.1], "robust": [0.8, 0.5], "certified": [0.4, 0.1]})
    ax = Figure().subplots()
    draw_robustness(ax, line, line[:0], LogNorm(1e-3, 1e-1))
    assert band(ax) == [(0.1, 0.8)]
    ax = Figure().subplots()
    draw_attacks(ax, line, {})
    assert band(ax) == [(0.1, 0.8)]
    draw_attacks(ax, line.drop(columns="certified"), {})
    assert len(band(ax)) == 1
    question = dict.fromkeys(["dataset", "protocol", "norm", "view", "backend", "columns"], "x")
    first = from_clean(line.assign(clean=0.9, **question)).iloc[0]
    assert (first["eps"], first["robust"], first["certified"]) == (0, 0.9, 0.9)


def test_report_and_page_show_what_is_certain(stored, tmp_path, capsys):
    report([str(tmp_path), "--html", "--out", str(tmp_path / "out")])
    assert "certified@0.00392157" in capsys.readouterr().out
    written = pd.read_csv(tmp_path / "out" / "curves.csv")
    assert written.query("attack == 'all'")["certified"].tolist() == [0.9, 0.3, 0.1]
    data, _ = board_of([stored])
    assert data["certain"] == [[0.9, 0.3, 0.1]]
    assert "certain" not in board_of([Entry(stored.results, ())])[0]
    assert '"certain"' in (tmp_path / "out" / "index.html").read_text()
    json.dumps(data)
