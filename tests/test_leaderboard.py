"""Tables are reductions of the Parquet file alone."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ibrobust.commands import report
from ibrobust.commands.report import print_report
from ibrobust.files import released_zoo
from ibrobust.robustness.card import AuditRecord, FindingRecord
from ibrobust.robustness.leaderboard import curves, leaderboard, printable, quarter_radii
from ibrobust.robustness.storage import load_results
from tests.cards import asked_otherwise

PATHS = sorted((released_zoo() / "results" / "paper").glob("*.parquet"))


@pytest.fixture
def results(released_results):
    return released_results


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


def test_the_released_leaderboard_is_what_the_released_results_say(released_board):
    released = pd.read_csv(released_zoo() / "leaderboard.csv", dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(printable(released_board).astype(str), released)


def test_the_trusted_are_ranked_by_strict_attacks_and_the_others_below_have_a_reason(released_board):
    board = released_board
    ranked = board[board["rank"].notna()]
    assert len(ranked)
    assert set(ranked["protocol"]) <= {"strict", "strict-rand"}
    assert set(ranked["verdict"]) == {"trusted"}
    assert board.index[board["rank"].notna()].max() == len(ranked) - 1
    for _, group in ranked.groupby(["dataset", "protocol", "norm", "view", "backend"]):
        assert list(group["rank"]) == list(range(1, len(group) + 1)) or group["robust_avg"].duplicated().any()
        assert group["robust_avg"].is_monotonic_decreasing
    below = board[board["rank"].isna()]
    assert below["robust_avg"].is_monotonic_decreasing
    assert (below["reason"] != "").all()


@pytest.mark.parametrize(
    ("verdict", "protocol", "reason"),
    [
        ("trusted", "strict", ""),
        ("suspect", "strict", "Square breaks more"),
        (None, "strict", "not audited"),
        ("trusted", "paper", "not a strict protocol"),
        ("masked", "paper", "not a strict protocol; Square breaks more"),
        (None, "paper", "not a strict protocol; not audited"),
    ],
)
def test_rank_and_reason_follow_the_verdict(results, verdict, protocol, reason):
    evaluated = next(result for result in results if result.card.settings.protocol == protocol)
    audit = None
    if verdict:
        about = {"value": 0.0, "threshold": 0.0, "means": "masked" if verdict == "masked" else "suspect"}
        findings = [
            FindingRecord(name="slope", sentence="fine", passed=True, **about),
            FindingRecord(name="square", sentence="Square breaks more", passed=verdict == "trusted", **about),
        ]
        audit = AuditRecord(samples=1, eps=0.1, findings=findings)
    (row,) = leaderboard([asked_otherwise(evaluated, verdict=verdict, audit=audit)]).to_dict("records")
    assert row["reason"] == reason
    assert pd.isna(row["rank"]) == bool(reason)


def test_the_same_run_by_another_backend_is_a_row_of_its_own_and_ranked_apart(results):
    ours = next(result for result in results if not leaderboard([result])["reason"].iloc[0])
    theirs = asked_otherwise(ours, backend="foolbox")
    board = leaderboard([ours, theirs])
    assert list(board["backend"]) == ["native", "foolbox"]
    assert list(board["rank"]) == [1, 1]
    assert set(curves([ours, theirs])["backend"]) == {"foolbox", "native"}


def test_the_terminal_shows_a_setting_where_rows_differ_in_it(results, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report, "_figures", lambda *_: [])
    print_report(results[:2], tmp_path)
    alike = capsys.readouterr().out.split()
    for setting, value in {"backend": "foolbox", "columns": "standing", "norm": "l2"}.items():
        assert setting not in alike
        print_report([results[0], asked_otherwise(results[0], **{setting: value})], tmp_path)
        assert {setting, value} <= set(capsys.readouterr().out.split())


def test_no_attack_alone_is_below_all_of_them(results):
    table = (
        curves(results)
        .query("view == 'mean'")
        .pivot(
            index=["run", "protocol", "norm", "view", "backend", "columns", "eps"], columns="attack", values="robust"
        )
    )
    others = table.drop(columns="all")
    assert (table["all"] <= others.min(axis=1)).all()


def test_every_column_is_documented(released_board):
    from tests.conftest import ROOT

    text = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    for column in released_board:
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
