"""Models of your own have names of their own: none overwrites another, and versions stand side by side."""

import shutil

import numpy as np
import pandas as pd
import pytest

from ibrobust.robustness.storage import load_results
from ibrobust.subjects.zoo import find_runs
from tests.refusals import RUN, exit_of, refused

SOURCE = """import torch
from torch import nn

def make():
    torch.manual_seed({seed})
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Two models and two data sets whose files have the same names, in the folders `one` and `two`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ibrobust.figures.style.save_figure", lambda *_: [])
    for seed, place in enumerate(("one", "two")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "net.py").write_text(SOURCE.format(seed=seed))
        rng = np.random.default_rng(seed)
        np.savez(tmp_path / place / "few.npz", x=rng.random((9, 1, 4, 4), np.float32), y=np.arange(9) % 3)
    return tmp_path


def words(*models: str, data: str = "one", out: str = "results") -> list[str]:
    named = [word for model in models for word in ("--model", f"{model}/net.py:make")]
    return ["evaluate", *named, "--data", f"{data}/few.npz", "--eps", "0.1", "--attacks", "fgsm", "--out", out]


def stored(folder, out: str = "results") -> dict[str, float]:
    return {path.name: path.stat().st_mtime_ns for path in sorted((folder / out / "fgsm").glob("*.parquet"))}


def test_a_second_model_of_the_same_name_stands_beside_the_first(models, capsys, monkeypatch):
    notes = []
    for data in ("one", "two"):
        for model in ("one", "two"):
            code, err = exit_of(capsys, monkeypatch, *words(model, data=data))
            assert not code, err
            notes.append("--name gives it another" in err)
    assert notes == [False, True, True, True]
    kept = stored(models)
    assert len(kept) == 4
    assert len(pd.read_csv(models / "results" / "leaderboard.csv")["run"].unique()) == 4
    weights = {load_results(models / "results" / "fgsm" / name).card.model.weights_sha256 for name in kept}
    assert len(weights) == 2
    exit_of(capsys, monkeypatch, *words("two", data="two"))
    assert stored(models) == kept, "each is found again by its own name"


def test_several_models_in_one_call_and_names_of_your_own(models, capsys, monkeypatch):
    code, err = exit_of(capsys, monkeypatch, *words("one", "two"), "--name", "first", "--name", "second")
    assert not code, err
    assert list(stored(models)) == ["first.parquet", "second.parquet"]
    code, err = exit_of(capsys, monkeypatch, *words("one", "two", out="unnamed"))
    assert not code, err
    assert len(stored(models, "unnamed")) == 2


@pytest.mark.parametrize(
    ("models_named", "names", "named"),
    [
        (("two",), ["mine"], ["name 'mine' is taken", "results/fgsm/mine.parquet"]),
        (("one", "two"), ["a", "a"], ["name 'a' is taken", "this call"]),
        (("one", "two"), ["a"], ["1 names for 2 models"]),
        (("one",), ["../../x"], ["'../../x' is no name"]),
        ((), ["a"], ["--name a", "--model"]),
    ],
)
def test_a_name_that_is_taken_or_none_is_refused(models, capsys, monkeypatch, models_named, names, named):
    exit_of(capsys, monkeypatch, *words("one"), "--name", "mine")
    asked = words(*models_named) if models_named else ["evaluate"]
    refused(models, capsys, monkeypatch, [*asked, *(word for name in names for word in ("--name", name))], named)


def test_two_runs_of_one_name_with_other_weights_are_refused(folder, capsys, monkeypatch):
    card = folder / "other" / RUN / "card.json"
    shutil.copytree(folder / "runs" / RUN, card.parent)
    refused_words = ["evaluate", f"runs/{RUN}", f"other/{RUN}"]
    assert len(find_runs([folder / "runs", folder / "other"])) == 1, "the same run twice is one"
    card.write_text(card.read_text().replace('"weights_sha256": "', '"weights_sha256": "0'))
    refused(folder, capsys, monkeypatch, refused_words, [f"'runs/{RUN}' and 'other/{RUN}'", "other weights"])


def test_report_puts_versions_of_one_model_side_by_side(models, capsys, monkeypatch):
    for place in ("one", "two"):
        exit_of(capsys, monkeypatch, *words(place, out=f"{place}/results"))
    code, err = exit_of(capsys, monkeypatch, "report", "one/results", "two/results", "--out", "both")
    assert not code, err
    board = pd.read_csv(models / "both" / "leaderboard.csv")
    assert board["run"].nunique() == len(board) == 2
    assert board["run"].str.startswith("net-make-few-").all()
    apart = {pd.read_csv(models / place / "results" / "leaderboard.csv")["robust_avg"][0] for place in ("one", "two")}
    assert set(board["robust_avg"]) == apart
    curves = pd.read_csv(models / "both" / "curves.csv")
    assert set(curves["run"]) == set(board["run"])


def test_a_model_of_your_own_goes_to_other_processes(models):
    import pickle

    from ibrobust.errors import RunFailed
    from ibrobust.experiments.subject import foreign_subject

    (models / "drawn.py").write_text(SOURCE.replace("    torch.manual_seed({seed})\n", ""))
    asked = {"data_dir": None, "download": False}
    subject = foreign_subject("one/net.py:make", "one/few.npz", **asked)
    again = pickle.loads(pickle.dumps(subject)).model()
    assert all((a == b).all() for a, b in zip(again.parameters(), subject.model().parameters(), strict=True))
    drawn = foreign_subject("drawn.py:make", "one/few.npz", **asked)
    with pytest.raises(RunFailed, match="makes other weights each time"):
        pickle.loads(pickle.dumps(drawn))
