"""The project's own leaderboard: every entry is a submission that holds, and the site makes a page of all of them."""

import json
import sys
import zipfile
from importlib import import_module
from types import SimpleNamespace

import pytest

from ibrobust.commands import accept, report
from ibrobust.files import released_zoo
from ibrobust.submissions.making import About, write_submission
from tests.conftest import ROOT

ENTRIES = sorted((ROOT / "leaderboard" / "entries").glob("*.zip"))


def test_every_entry_holds_and_goes_by_its_run_s_name(capsys):
    assert ENTRIES
    accept.main(["--check", *map(str, ENTRIES)])
    assert capsys.readouterr().out.count(": holds\n") == len(ENTRIES)
    for path in ENTRIES:
        with zipfile.ZipFile(path) as archive:
            assert json.loads(archive.read("submission.json"))["run"] == path.stem


@pytest.mark.parametrize("run", ["digits-mlp-l2-g0.1-s0-e99535be", "mnist-lenet-none-g0-s0-d42d58b8"])
def test_entries_of_released_runs_are_what_submit_makes_of_them(run, tmp_path):
    """All but the manifest, which names the version that made it."""
    zoo = released_zoo()
    place = f"{'runs' if run.startswith('digits') else 'mnist'}/{run}"
    results = [zoo / "results" / "strict" / f"{run}.parquet"]
    about = About("MIT", f"https://github.com/ibrobust/ibrobust/tree/main/zoo/{place}", None)
    write_submission(results, tmp_path / "made.zip", about, run_folder=zoo / place, weights=False)
    ours, theirs = (
        zipfile.ZipFile(path) for path in (tmp_path / "made.zip", ROOT / "leaderboard" / "entries" / f"{run}.zip")
    )
    with ours, theirs:
        assert ours.namelist() == theirs.namelist()
        manifests = [json.loads(each.read("submission.json")) for each in (ours, theirs)]
        differing = {key for key in manifests[0] if manifests[0][key] != manifests[1][key]}
        assert differing <= {"version"}
        names = [name for name in ours.namelist() if name != "submission.json"]
        assert all(ours.read(name) == theirs.read(name) for name in names)


def test_the_site_makes_a_page_of_the_entries(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "build"))
    monkeypatch.setattr(report, "_figures", lambda *_: [])
    hooks = import_module("hooks")

    def run(words, **_):
        assert words[1:4] == ["-m", "ibrobust", "report"]
        report.main(words[4:])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(hooks.subprocess, "run", run)
    hooks.build_board(ENTRIES[0].parent, tmp_path / "board")
    hooks.build_board(tmp_path, tmp_path / "nothing")
    for name in ("hooks", "gallery", "notebooks"):
        sys.modules.pop(name, None)
    text = (tmp_path / "board" / "index.html").read_text(encoding="utf-8")
    assert all(f'"{path.stem}"' in text for path in ENTRIES)
    runs = [path.read_text(encoding="ascii") for path in (tmp_path / "board" / "runs").iterdir()]
    assert len(runs) == len(ENTRIES)
    assert all("data:image/png;base64," in run for run in runs)
    assert not (tmp_path / "nothing").exists()
