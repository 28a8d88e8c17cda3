"""A run's results as one file: made in one folder, accepted in another with nothing but the file."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import ibrobust
from ibrobust.__main__ import main
from ibrobust.commands import accept, report, submit
from ibrobust.datasets import load_dataset
from ibrobust.errors import BadInput, RunFailed
from ibrobust.files import released_zoo
from ibrobust.page.details import details_of
from ibrobust.page.entries import Entry, histories_of
from ibrobust.robustness.card import ModelRecord
from ibrobust.robustness.card_records import DataRecord
from ibrobust.robustness.evidence import evidence_path, save_evidence
from ibrobust.robustness.leaderboard import leaderboard, printable
from ibrobust.robustness.storage import load_results, save_results
from ibrobust.subjects.zoo import load_run
from ibrobust.submissions.archive import unpacked
from ibrobust.submissions.entries import result_folders
from tests.conftest import ROOT
from tests.submitted import IMAGES, RESULTS, RUN, fabricated, made, parts_of, sealed, written


@pytest.fixture(scope="module")
def submission(tmp_path_factory):
    """A whole submission, alone in its folder."""
    made_in = tmp_path_factory.mktemp("made")
    return shutil.copyfile(made(made_in), tmp_path_factory.mktemp("sent") / "sent.zip")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_accepted_elsewhere_and_is_one_entry(submission, elsewhere, capsys):
    accept.main([str(submission)])
    said = capsys.readouterr().out.splitlines()
    entry = Path("leaderboard/entries") / f"{RUN}.zip"
    assert said[-1] == f"{entry}: added"
    assert said[0].startswith(f"{RUN}, digits, strict, linf: ")
    assert said[0].endswith("; trusted")
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == [elsewhere / entry]
    assert entry.read_bytes() == submission.read_bytes()
    accept.main([str(submission)])
    assert capsys.readouterr().out.splitlines()[-1] == f"{entry}: is there already, nothing to do"


def test_another_submission_of_the_name_is_refused(submission, elsewhere):
    accept.main([str(submission)])
    other = written([*sealed(parts_of(submission), licence="Apache-2.0").items()], elsewhere / "other.zip")
    with pytest.raises(BadInput, match=f"other.zip: .*{RUN}.zip is another submission of that name"):
        accept.main([str(other)])
    cased = Path("leaderboard/entries") / f"{RUN.upper()}.zip"
    (Path("leaderboard/entries") / f"{RUN}.zip").rename(cased)
    with pytest.raises(BadInput, match=f"{RUN.upper()}.zip is another submission of that name"):
        accept.main([str(submission)])


def test_the_same_files_make_the_same_bytes(submission, tmp_path):
    assert made(tmp_path).read_bytes() == submission.read_bytes()


def test_the_leaderboard_of_entries_is_that_of_their_results(submission, elsewhere, monkeypatch, capsys):
    monkeypatch.setattr(report, "_figures", lambda *_: [])
    accept.main([str(submission)])
    report.main(["leaderboard/entries", "--html", "--out", "out"])
    assert "index.html and 1 files beside it" in capsys.readouterr().out
    board = pd.read_csv("out/leaderboard.csv", dtype=str, keep_default_na=False)
    released = load_results(released_zoo() / RESULTS)
    pd.testing.assert_frame_equal(board, printable(leaderboard([released])).astype(str))
    assert board["rank"].tolist() == ["1"]


def test_a_page_of_entries_names_licence_and_model_and_shows_history_and_images(submission):
    with result_folders([submission]) as places:
        file = places[0] / Path(RESULTS).relative_to("results")
        entry = Entry(load_results(file), (file,))
        details = details_of(entry, range(500), histories_of([places[0].parent / "runs"]))
    assert details["about"]["submission"] == [["licence", "MIT"], ["model", "https://a.example/model"]]
    assert len(details["history"]["epoch"]) == 60
    assert len(details["pictures"]) > 100


def test_what_is_missing_is_said_and_what_is_needed_refused(tmp_path, capsys, monkeypatch):
    fabricated(tmp_path)
    (tmp_path / IMAGES).unlink()
    (tmp_path / "results" / "audit.csv").unlink()
    monkeypatch.chdir(tmp_path)
    submit.main([RUN, "--out", "bare.zip"])
    said = capsys.readouterr().out.splitlines()
    assert said[1:5] == [
        f"missing, and needed: images that prove {RESULTS} (evaluate --keep-images)",
        "missing, and needed: the model's licence (submit --licence MIT)",
        "missing, and needed: where the model can be found (submit --reference https://..., or --weights)",
        f"missing: the audit of {RESULTS} (python -m ibrobust.audit; without it there is no rank)",
    ]
    with pytest.raises(BadInput, match=r"bare.zip: it lacks images .*licence .*where the model can be found"):
        accept.main(["bare.zip"])
    assert not Path("leaderboard").exists()


def test_an_audit_of_other_rows_does_not_go_along(tmp_path, capsys, monkeypatch):
    fabricated(tmp_path)
    table = tmp_path / "results" / "audit.csv"
    table.write_text(table.read_text().replace(",True,", ",False,"))
    monkeypatch.chdir(tmp_path)
    submit.main([RUN, "--licence", "MIT", "--weights"])
    assert "; unaudited" in capsys.readouterr().out
    with unpacked(Path(f"{RUN}.zip")) as submission:
        assert "results/audit.csv" not in submission.manifest.files
        assert submission.manifest.claims[0].verdict == "unaudited"


def test_the_commands_of_the_page_run(tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs" / "submit.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    fabricated(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "_figures", lambda *_: [])
    assert [line.split()[2] for line in lines] == ["ibrobust.submit", "ibrobust.accept", "ibrobust.report"]
    for line in lines:
        command, *words = shlex.split(line)[2:]
        main([command.removeprefix("ibrobust."), *words])
    said = capsys.readouterr().out
    assert "missing" not in said
    assert Path("report/index.html").is_file()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["no-such-run"], "no results of run 'no-such-run' in results"),
        (["../up/.."], "run: '..' is no name"),
        ([f"{RUN}", "--weights", "--out", "."], "'.' is a folder"),
    ],
)
def test_what_cannot_be_submitted_is_refused(tmp_path, monkeypatch, words, match):
    fabricated(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=match):
        submit.main(words)
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.parametrize(
    "words", [["--licence", "<b>"], ["--reference", "javascript:alert(1)"], ["--contact", "two\nlines"]]
)
def test_what_is_said_beside_is_plain(words, capsys):
    with pytest.raises(SystemExit) as stop:
        submit.main([RUN, *words])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_only_where_the_reviewer_says_so_the_model_is_asked(submission, elsewhere, capsys):
    """The images of the other tests lie in their balls, and fool nobody."""
    with pytest.raises(BadInput, match="no model is loaded without --run-model"):
        accept.main([str(submission), "--model", "net.py:make"])
    with pytest.raises(RunFailed, match=f"{RUN}: the model does not answer so under strict"):
        accept.main([str(submission), "--run-model"])
    assert "classified as its label: samples" in capsys.readouterr().out
    assert not Path("leaderboard").exists()


def test_images_that_an_attack_made_are_proven_by_the_weights_in_the_file(elsewhere, capsys):
    run = load_run(released_zoo() / "runs" / RUN)
    test = load_dataset("digits").test
    asked = {"attacks": ["fgsm"], "eps": [0.05, 0.1], "keep_images": True}
    table = ibrobust.breaking_radii(run.model(), test.x[:20], test.y[:20], **asked)
    record = ModelRecord(run=RUN, recipe=run.card.recipe, weights_sha256=run.card.weights_sha256)
    card = table.card.model_copy(update={"model": record, "data": DataRecord(name="digits")})
    path = Path("results/fgsm") / f"{RUN}.parquet"
    save_results(replace(table, card=card), path)
    save_evidence(table.evidence, card, evidence_path(path))
    submit.main([str(path), "--licence", "MIT", "--weights", "--out", "sent.zip"])
    shutil.rmtree("results")
    accept.main(["sent.zip", "--run-model", "--entries", "entries"])
    assert f"{RUN}, fgsm, linf: " in (said := capsys.readouterr().out)
    assert ": holds\n" in said
    assert [path.name for path in Path("entries").iterdir()] == [f"{RUN}.zip"]
