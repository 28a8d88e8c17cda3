"""Accuracy under corruptions: that of a plain loop on stored images, and the same bytes whenever images are made."""

import json
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import ibrobust
from ibrobust.errors import BadInput
from ibrobust.experiments import evaluation
from ibrobust.experiments.evaluation import evaluate_subject
from ibrobust.experiments.subject import foreign_subject
from ibrobust.robustness import corrupted_images
from ibrobust.robustness.corrupted_images import COMMON, corrupted, library_words, possible_corruptions
from ibrobust.robustness.corruption_accuracy import corruption_accuracy
from ibrobust.robustness.corruption_results import CorruptionResults
from ibrobust.robustness.question import Execution
from ibrobust.robustness.settings import make_settings
from ibrobust.robustness.storage import load_corruptions, load_results, load_stored, save_results
from tests.refusals import exit_of

NET = """
import torch
from torch import nn
def make(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 3))
def other():
    return make(1)
"""
NAMES = ("brightness", "fog", "gaussian_noise")


def model(channels: int, side: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, 3))


def images(count: int, channels: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(1)
    smooth = nn.functional.interpolate(torch.rand(count, channels, 4, 4, generator=drawn), side, mode="bilinear")
    return (smooth * 255).to(torch.uint8), torch.arange(count) % 3


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder in CIFAR-10-C's layout with 12 samples, and a network."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "c").mkdir()
    drawn = np.random.RandomState(0)
    for name in NAMES:
        np.save(folder / "c" / f"{name}.npy", drawn.randint(0, 256, (60, 32, 32, 3)).astype(np.uint8))
    np.save(folder / "c" / "labels.npy", np.tile(np.arange(12) * 5 % 3, 5))
    (folder / "net.py").write_text(NET)
    return folder


@pytest.fixture(scope="module")
def evaluated(stored):
    """The two networks' results under the stored corruptions, by the command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(stored)
        patch.setattr(evaluation, "_CORRUPTED", 5)
        from ibrobust.commands.evaluate import main

        main(["--model", "net.py:make", "--model", "net.py:other", "--data", "c", "--protocol", "corruptions"])
    return stored / "results"


def plain_accuracy(stored, factory: str) -> dict[tuple[str, int], float]:
    """What anybody would write: each file, each fifth of it, the share that is right."""
    space: dict = {}
    exec(NET, space)
    network, found = space[factory](), {}
    labels = torch.from_numpy(np.load(stored / "c" / "labels.npy"))
    for name in NAMES:
        x = torch.from_numpy(np.load(stored / "c" / f"{name}.npy")).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            right = network(x).argmax(1) == labels
        for severity in range(1, 6):
            found[name, severity] = right[(severity - 1) * 12 : severity * 12].double().mean().item()
    return found


def test_stored_corruptions_are_scored_as_a_plain_loop_does(stored, evaluated):
    table = pd.read_csv(evaluated / "corruptions.csv")
    assert list(table) == ["run", "dataset", "corruption", "severity", "n", "accuracy"]
    for factory in ("make", "other"):
        expected = plain_accuracy(stored, factory)
        rows = table[table["run"] == f"net-{factory}-c"]
        got = {(name, severity): share for name, severity, share in rows[["corruption", "severity", "accuracy"]].values}
        assert got == pytest.approx(expected, abs=5e-7)
        assert len(got) == 15


def test_the_leaderboard_ranks_them_apart_with_columns_of_their_own(stored, evaluated, capsys, monkeypatch):
    board = pd.read_csv(evaluated / "leaderboard.csv")
    mean = {factory: np.mean(list(plain_accuracy(stored, factory).values())) for factory in ("make", "other")}
    best = max(mean, key=mean.get)
    assert board["run"].tolist() == [f"net-{name}-c" for name in (best, "make" if best == "other" else "other")]
    assert board["corruption_avg"].tolist() == pytest.approx([mean[best], min(mean.values())], abs=5e-5)
    assert board["rank"].tolist() == [1, 2 if min(mean.values()) < mean[best] else 1]
    assert set(board["rank_low"]) | set(board["rank_high"]) <= {1, 2}
    assert (board["rank_low"] <= board["rank"]).all()
    assert (board["rank"] <= board["rank_high"]).all()
    assert board["clean"].isna().all()
    assert "mce" not in board
    monkeypatch.chdir(stored)
    np.savez("some.npz", x=images(9, 3, 32)[0].numpy(), y=images(9, 3, 32)[1].numpy())
    attack = ("evaluate", "--model", "net.py:make", "--data", "some.npz", "--attacks", "fgsm", "--eps", "0.1")
    assert exit_of(capsys, monkeypatch, *attack, "--out", "alone")[0] is None
    assert exit_of(capsys, monkeypatch, "report", "alone", "results", "--out", "both")[0] is None
    alone, both = (pd.read_csv(f"{folder}/leaderboard.csv", dtype=str) for folder in ("alone", "both"))
    assert list(both)[: len(alone.columns)] == list(alone)
    pd.testing.assert_frame_equal(both[list(alone)][:1], alone)
    assert both["protocol"].tolist() == ["fgsm", "corruptions", "corruptions"]
    assert both["robust_avg"].isna().tolist() == [False, True, True]


def test_mce_is_the_mean_of_errors_relative_to_a_reference(stored, evaluated, capsys, monkeypatch):
    monkeypatch.chdir(stored)
    error = {name: {c: 1 - np.mean([plain_accuracy(stored, name)[c, s] for s in range(1, 6)]) for c in NAMES}
             for name in ("make", "other")}  # fmt: skip
    expected = {name: np.mean([error[name][c] / error["other"][c] for c in NAMES]) for name in error}
    pd.DataFrame({"corruption": NAMES, "error": [error["other"][c] for c in NAMES]}).to_csv(
        "reference.csv", index=False
    )
    for reference in ("results/corruptions/net-other-c.parquet", "reference.csv"):
        code, words = exit_of(capsys, monkeypatch, "report", "results", "--mce-reference", reference, "--out", "mce")
        assert code is None, words
        board = pd.read_csv("mce/leaderboard.csv").set_index("run")["mce"]
        assert board.to_dict() == pytest.approx({f"net-{name}-c": mce for name, mce in expected.items()}, abs=5e-5)
    pd.DataFrame({"corruption": ["fog"], "error": [0.5]}).to_csv("reference.csv", index=False)
    code, words = exit_of(capsys, monkeypatch, "report", "results", "--mce-reference", "reference.csv", "--out", "mce")
    assert (code, "no error above 0 on the corruption 'brightness'" in words) == (2, True)


def test_a_file_says_what_it_holds_and_no_more(evaluated, tmp_path):
    path = evaluated / "corruptions" / "net-make-c.parquet"
    card = json.loads(pq.read_schema(path).metadata[b"ibrobust"])
    assert card["corruptions"] == {"names": list(NAMES), "made": "read from files"}
    assert not {"radii", "norm", "search", "noise"} & set(card)
    results = load_stored(path)
    assert isinstance(results, CorruptionResults)
    save_results(results, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()
    with pytest.raises(BadInput, match="it holds accuracy under corruptions, and no attack's results"):
        load_results(path)
    for spoil, words in (
        (lambda rows: rows.drop(columns="fog@3"), "columns of its corruptions: 'fog@3'"),
        (lambda rows: rows.assign(more=1), "columns of its corruptions: 'more'"),
        (lambda rows: rows.assign(**{"fog@3": -1}), "'fog@3' does not hold whole numbers from 0 on"),
        (lambda rows: rows.assign(sample=0), "names a sample twice"),
        (lambda rows: rows[:0], "holds no samples"),
    ):
        save_results(CorruptionResults(spoil(results.rows), results.card), tmp_path / "bad.parquet")
        with pytest.raises(BadInput, match=words):
            load_corruptions(tmp_path / "bad.parquet")


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32)])
def test_made_images_depend_on_their_sample_alone(channels, side):
    x, _ = images(4, channels, side)
    ids = torch.tensor([3, 14, 15, 92])
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()
    for name in possible_corruptions(side, side)[0]:
        for severity in (1, 5):
            whole = corrupted(x, ids, name, severity, seed=0)
            assert whole.shape == x.shape
            assert not torch.equal(whole, x)
            parts = [corrupted(x[row : row + 1], ids[row : row + 1], name, severity, seed=0) for row in (3, 0, 2, 1)]
            assert torch.equal(whole, torch.cat([parts[1], parts[3], parts[2], parts[0]])), name
        noisy = corrupted(x, ids, "gaussian_noise", 1, seed=0)
        assert not torch.equal(noisy, corrupted(x, ids, "gaussian_noise", 1, seed=1))
    assert np.random.get_state()[1].tolist() == before


def test_each_corruption_that_an_image_is_too_small_for_is_named():
    assert possible_corruptions(32, 40) == (list(COMMON), [])
    names, (words,) = possible_corruptions(8, 9)
    assert set(COMMON) - set(names) == {"glass_blur", "snow", "motion_blur"}
    assert all(name in words for name in set(COMMON) - set(names))
    assert len(possible_corruptions(28, 28)[0]) == 15
    with pytest.raises(BadInput, match="images have 9 × 7 pixels; corruptions need 8 or more"):
        possible_corruptions(7, 9)


def test_an_evaluation_has_the_same_bytes_however_it_is_cut(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    x, y = images(7, 3, 32)
    np.savez(tmp_path / "a.npz", x=x.numpy(), y=y.numpy())
    monkeypatch.setattr(corrupted_images, "COMMON", ("glass_blur", "impulse_noise", "fog"))
    written = []
    for block, batch in ((200, None), (3, 2), (5, 64)):
        monkeypatch.setattr(evaluation, "_CORRUPTED", block)
        subject = foreign_subject(f"{tmp_path}/net.py:make", f"{tmp_path}/a.npz", data_dir=None, download=False)
        settings = make_settings({"protocol": "corruptions"})
        path, _ = evaluate_subject(subject, None, settings, Execution(batch), out=tmp_path / f"{block}")
        written.append(path.read_bytes())
    assert written[0] == written[1] == written[2]


def test_python_scores_made_images_and_says_what_made_them(monkeypatch):
    x, y = images(5, 1, 28)
    network = model(1, 28)
    found = corruption_accuracy(network, x, y, health="ignore")
    assert found.card.corruptions.made == library_words()
    assert "imagecorruptions-imaug" in library_words()
    fog = corrupted(x, torch.arange(5), "fog", 2, seed=0)
    with torch.no_grad():
        assert found.rows["fog@2"].tolist() == network(fog / 255).argmax(1).tolist()
        assert found.rows["prediction"].tolist() == network(x / 255).argmax(1).tolist()
    assert found.clean == float((found.rows["prediction"] == y.numpy()).mean())
    assert [line.split()[0] for line in str(found).splitlines()[1:16]] == list(COMMON)
    floats = corruption_accuracy(network, x.float() / 255, y, health="ignore")
    assert floats.rows.equals(found.rows)


def test_what_cannot_be_asked_is_refused_in_one_line(stored, capsys, monkeypatch):
    monkeypatch.chdir(stored)
    asked = ("evaluate", "--model", "net.py:make", "--data", "c")
    for flags, words in (
        (("--protocol", "corruptions", "--eps", "0.1"), "--eps 0.1: protocol 'corruptions' has no attacks"),
        (("--protocol", "corruptions", "--norm", "l2"), "--norm l2: protocol 'corruptions' has no attacks"),
        (("--protocol", "corruptions", "--keep-images"), "--keep-images: protocol corruptions attacks nothing"),
        (("--protocol", "corruptions", "--fail-below", "0.5@0.1"), "--fail-below: protocol corruptions attacks noth"),
        (("--protocol", "paper"), "protocol 'paper': the data 'c' holds corrupted images; take protocol corruptions"),
    ):
        code, said = exit_of(capsys, monkeypatch, *asked, *flags)
        assert code == 2, said
        assert words in said.splitlines()[-1]
    for command, flags, words in (
        ("audit", ("--protocol", "corruptions"), "--protocol 'corruptions': it attacks nothing"),
        ("certify", ("--protocol", "corruptions"), "--protocol 'corruptions': it attacks nothing"),
        ("audit", ("--eps", "0.1", "--results", "audited"), "the data 'c' holds corrupted images"),
    ):
        code, said = exit_of(capsys, monkeypatch, command, *asked[1:], *flags)
        assert (code, words in said.splitlines()[-1]) == (2, True), said
    x, y = images(3, 3, 32)
    with pytest.raises(BadInput, match="protocol 'corruptions' has no attacks; call corruption_accuracy"):
        ibrobust.breaking_radii(model(3, 32), x, y, protocol="corruptions")
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(BadInput, match=r"needs imagecorruptions-imaug.*pip install 'ibrobust\[corruptions\]'"):
        corruption_accuracy(model(3, 32), x, y, health="ignore")
