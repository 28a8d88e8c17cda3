"""A command that reads results is pointed at a folder one level too deep or too high, or at the wrong kind of file."""

import shutil
from pathlib import Path

import pytest

from ibrobust.commands import claims, compare, export, report, submit, verify
from ibrobust.errors import BadInput
from ibrobust.files import released_zoo
from ibrobust.result_folders import result_files, what_is_wrong
from tests.refusals import refused

RUN = "digits-mlp-l2-g0.1-s0-e99535be"
FILE = f"{RUN}.parquet"
READERS = {
    "claims": ["claims"], "report": ["report", "--out", "made"], "verify": ["verify"],
    "export": ["export", "--out", "made"], "submit": ["submit", RUN, "--out", "made.zip", "--results"],
}  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    """`here/results/strict` with one result and its images, an empty folder, and one without images."""
    strict = released_zoo() / "results" / "strict"
    for name in (FILE, f"images/{FILE}"):
        target = tmp_path / "here" / "results" / "strict" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(strict / name, target)
    (tmp_path / "empty").mkdir()
    bare = tmp_path / "bare" / "strict" / FILE
    bare.parent.mkdir(parents=True)
    shutil.copy(strict / FILE, bare)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("here/results/strict", "it lies inside a folder of results; name here/results"),
        ("here/results/strict/images", "it lies inside a folder of results; name here/results"),
        ("here", "it holds folders of results; name here/results"),
        ("nowhere", "there is no such folder; evaluate writes it"),
    ],
)
def test_a_folder_that_is_none_of_results(place, capsys, monkeypatch, command, given, named):
    said = f"no results in {Path(given)}: {named.replace('here/results', str(Path('here/results')))}"
    refused(place, capsys, monkeypatch, [*READERS[command], given], [said])


@pytest.mark.parametrize("command", ["claims", "report", "verify", "export"])
def test_a_wrong_folder_beside_a_right_one_is_not_passed_over(place, capsys, monkeypatch, command):
    words = [*READERS[command][:1], "here/results", "nowhere", *READERS[command][1:]]
    refused(place, capsys, monkeypatch, words, ["no results in nowhere: there is no such folder"])


def test_an_empty_folder_beside_a_right_one_is_told(place, capsys):
    claims.main(["here/results", "empty"])
    assert capsys.readouterr().err == "note: no results in empty\n"
    with pytest.raises(BadInput, match="no results in empty; run"):
        report.main(["empty"])


def test_what_is_named_from_inside_leads_there(place, monkeypatch):
    for inside in ("here/results/strict", "here/results/strict/images"):
        monkeypatch.chdir(place / inside)
        named = Path(what_is_wrong(Path()).rpartition(" ")[2])
        assert named.resolve() == place / "here" / "results"
        assert what_is_wrong(named) == ""
    named = Path(what_is_wrong(Path("..")).rpartition(" ")[2])
    assert named.resolve() == place / "here" / "results"


def test_images_are_no_results(place):
    assert [path.name for path in result_files(Path("here/results"))] == [FILE]
    assert result_files(Path("here/results/strict")) == []


INSIDE, OF = f"here/results/strict/images/{FILE}", f"images; the results are here/results/strict/{FILE}"


@pytest.mark.parametrize(
    ("main", "words", "named"),
    [
        (compare.main, ["here/results", "x.parquet"], "here/results is a folder, not a results file"),
        (compare.main, ["x.parquet", "x.parquet"], "x.parquet: there is no such file"),
        (compare.main, [INSIDE, INSIDE], OF),
        (submit.main, [INSIDE], OF),
        (verify.main, [INSIDE], OF),
        (verify.main, ["here/results", f"bare/strict/{FILE}"], "no images of it in bare/strict/images; evaluate"),
        (export.main, [f"bare/strict/{FILE}"], f"bare/strict/{FILE}: no images of it in bare/strict/images"),
        (verify.main, ["x.parquet"], "no results in x.parquet: there is no such file"),
        (claims.main, [f"bare/strict/{FILE}"], "it is a file, not a folder"),
        (report.main, [f"bare/strict/{FILE}"], "it is a file, not a folder"),
    ],
)  # fmt: skip
def test_a_file_or_folder_of_the_wrong_kind(place, main, words, named):
    with pytest.raises(BadInput) as refusal:
        main(words)
    assert named.replace("/", str(Path("/"))) in str(refusal.value)
