"""Results files from elsewhere: a card and rows that fit together, or one line that names the file and the field."""

import io
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ibrobust.commands.stored_results import stored_results
from ibrobust.files import released_zoo
from ibrobust.robustness.findings import earlier_findings, findings_table, save_findings, with_supported_verdict
from ibrobust.robustness.leaderboard import leaderboard
from ibrobust.robustness.storage import load_results, save_results
from tests.cards import asked_otherwise
from tests.refusals import RUN, refused

PAPER = released_zoo() / "results" / "paper" / f"{RUN}.parquet"
STRICT = released_zoo() / "results" / "strict" / "digits-mlp-none-adv0.1-g0-s0-87be6ebf.parquet"


def content_with(card: bytes | None, rows: pd.DataFrame | None = None) -> bytes:
    table = pq.read_table(PAPER)
    if rows is not None:
        table = pa.Table.from_pandas(rows, preserve_index=False)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({} if card is None else {b"ibrobust": card}), buffer)
    return buffer.getvalue()


CARD = json.loads(pq.read_schema(PAPER).metadata[b"ibrobust"])


def without(*keys: str) -> dict:
    return {key: value for key, value in CARD.items() if key not in keys}


def changed(place: str, **values) -> dict:
    return {**CARD, place: {**CARD[place], **values}}


CARDS = {
    "no card": (None, "it has no card"),
    "empty": (b"", "its card is no JSON"),
    "a list": (b"[]", "its card is a list, not an object"),
    "a number": (b"3", "its card is a number, not an object"),
    "not UTF-8": (b"\xff\xfe\xff", "its card is no JSON"),
    "100,000 levels deep": (b"[" * 100_000 + b"]" * 100_000, "its card is no JSON"),
    "an empty object": (b"{}", "its card lacks radii, protocol"),
    **{f"no {key}": (without(key), key) for key in ("radii", "protocol", "norm", "noise", "seed", "model", "data")},
    "no queries": (without("queries"), "queries"),
    "queries of no attack": ({**CARD, "queries": {}}, "its card lacks queries"),
    "queries that are negative": (changed("queries", pgd={"forward": -1, "gradient": 0}), "queries.pgd.forward"),
    "radii that descend": ({**CARD, "radii": [0.2, 0.1]}, "its card's radii [0.2, 0.1]: radii ascend"),
    "a run that is a path": (changed("model", run="../../x"), "run: '../../x' is no name"),
    "a run of 300 letters": (changed("model", run="x" * 300), "is no name"),
    "a run with a line break": (changed("model", run="a\nb"), "run: 'a"),
    "a run that is a formula": (changed("model", run="=1+1"), "run: '=1+1' is no name"),
    "an unknown regulariser": (
        changed("model", recipe={**CARD["model"]["recipe"], "reg": "l3"}), "no regulariser 'l3'; choose from",
    ),
    "a negative noise": (changed("model", noise="-1"), "noise '-1'"),
    "a noise that is NaN": (changed("model", noise="nan"), "noise 'nan'"),
    "a noise that is a number": (changed("model", noise=math.nan), "model.noise"),
    "an unknown norm": ({**CARD, "norm": "l7"}, "no norm 'l7'; choose from"),
    "an unknown protocol": ({**CARD, "protocol": "../../x"}, "no protocol '../../x'"),
    "a key of nobody's": ({**CARD, "colour": 1}, "colour"),
    "a verdict without an audit": (without("audit"), "verdict 'trusted' has no findings"),
    "a verdict without findings": (changed("audit", findings=[]), "has no findings"),
    "a better verdict than the findings": (
        changed("audit", findings=[{**CARD["audit"]["findings"][0], "passed": False}]),
        "verdict 'trusted' is not that of its findings, 'masked'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CARDS)
def test_a_card_that_is_none_is_refused(folder, capsys, monkeypatch, case):
    card, named = CARDS[case]
    file = folder / "results" / "paper" / "theirs.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(content_with(json.dumps(card).encode() if isinstance(card, dict) else card))
    refused(folder, capsys, monkeypatch, ["report"], ["results/paper/theirs.parquet", named])


ROWS = pq.read_table(PAPER).to_pandas()


def with_cell(column: str, value: object) -> pd.DataFrame:
    return ROWS.assign(**{column: [value, *ROWS[column][1:]]}).astype({column: ROWS[column].dtype})


FIRST_RIGHT = ROWS[ROWS["label"] == ROWS["prediction"]].index[0]
TABLES = {
    "NaN": (with_cell("pgd", np.nan), "its column pgd holds nan"),
    "a negative radius": (with_cell("pgd", -0.1), "its column pgd holds -0.1"),
    "a radius between those of the card": (with_cell("pgd", 0.055), "its column pgd holds 0.055"),
    "wrong and yet unbroken": (ROWS.assign(pgd=np.float32(np.inf)), "its column pgd is 0 elsewhere"),
    "a column missing": (ROWS.drop(columns="pgd"), "its rows lack the column 'pgd'"),
    "no column": (ROWS[[]], "its rows lack the column 'sample'"),
    "a column of text": (ROWS.assign(pgd="x"), "its column 'pgd' does not hold 32-bit numbers"),
    "labels of text": (ROWS.assign(label="x"), "its column 'label' does not hold whole numbers"),
    "another column": (ROWS.assign(other=1.0), "its column 'other' is none of its attacks"),
    "no rows": (ROWS[:0], "it holds no samples"),
    "a sample twice": (ROWS.assign(sample=7), "its column sample names a sample twice"),
    "a negative label": (ROWS.assign(label=-1), "its column label holds -1"),
}


@pytest.mark.parametrize("case", TABLES)
def test_rows_that_no_evaluation_leaves_behind_are_refused(folder, capsys, monkeypatch, case):
    rows, named = TABLES[case]
    file = folder / "results" / "paper" / "theirs.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(content_with(json.dumps(CARD).encode(), rows))
    refused(folder, capsys, monkeypatch, ["report"], ["results/paper/theirs.parquet", named])


def test_released_files_are_read_and_written_again_to_the_same_bytes(tmp_path):
    for path in sorted((released_zoo() / "results").glob("*/*.parquet"))[::9]:
        save_results(load_results(path), tmp_path / "again.parquet")
        assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()


def reasons(folder) -> tuple[str, bool]:
    """(why the one result there has no rank, whether it has one)."""
    (row,) = leaderboard(stored_results([folder])).to_dict("records")
    return row["reason"], not pd.isna(row["rank"])


def test_a_verdict_counts_as_long_as_audit_csv_holds_its_findings_of_these_rows(tmp_path):
    results = load_results(STRICT)
    file = tmp_path / "strict" / STRICT.name
    save_results(results, file)
    unsupported = "audit.csv does not hold the audit of these rows"
    assert reasons(tmp_path) == (unsupported, False), "no audit.csv"
    save_findings(results, tmp_path / "audit.csv")
    assert reasons(tmp_path) == ("", True)
    # A few samples made robust: still a table that an evaluation could leave behind.
    rows = results.rows.copy()
    broken = rows.index[rows[results.attacks].min(axis=1).between(0.01, 1)][:5]
    rows.loc[broken, results.attacks] = np.float32(np.inf)
    save_results(replace(results, rows=rows), file)
    assert reasons(tmp_path) == (unsupported, False)
    save_results(asked_otherwise(results, seed=1), file)
    assert reasons(tmp_path) == (unsupported, False), "another question"
    save_results(results, file)
    table = pd.read_csv(tmp_path / "audit.csv", dtype=str)
    table.loc[0, "value"] = "0.9999"
    table.to_csv(tmp_path / "audit.csv", index=False)
    assert reasons(tmp_path) == (unsupported, False), "another finding"


def test_findings_of_earlier_versions_support_nothing_and_are_kept_beside_new_ones(tmp_path):
    results = load_results(STRICT)
    save_findings(results, tmp_path / "audit.csv")
    old = pd.read_csv(tmp_path / "audit.csv", dtype=str).drop(columns=["columns", "results"]).assign(run="another")
    old.to_csv(tmp_path / "audit.csv", index=False)
    assert with_supported_verdict(results, earlier_findings(tmp_path / "audit.csv")).card.verdict is None
    save_findings(results, tmp_path / "audit.csv")
    kept = earlier_findings(tmp_path / "audit.csv")
    assert set(kept["run"]) == {"another", results.card.run}
    assert with_supported_verdict(results, kept).card.verdict == results.card.verdict
    assert len(kept) == 2 * len(findings_table(results))
