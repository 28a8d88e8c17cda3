"""Models without gradients under the protocol that needs none, and images of another model."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ibrobust
from ibrobust.attacks import ATTACKS
from ibrobust.commands.audit import main as audit
from ibrobust.commands.evaluate import main as evaluate
from ibrobust.commands.verify import main as verify
from ibrobust.errors import BadInput
from ibrobust.robustness.leaderboard import leaderboard
from ibrobust.robustness.protocols import PROTOCOLS, strength, strong_enough
from ibrobust.robustness.storage import load_results
from tests.oracles import linear

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear model in a file that onnxruntime runs, the same as a function in a file, and its samples."""
    problem = linear("linf", samples=12)
    place = tmp_path_factory.mktemp("black box")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"x": {0: "n"}}
        like, file = (problem.x[:1],), str(place / "net.onnx")
        torch.onnx.export(problem.model, like, file, dynamo=False, input_names=["x"], dynamic_axes=axes)
    np.savez(place / "mine.npz", x=problem.x.numpy(), y=problem.y.numpy())
    torch.save(problem.model.state_dict(), place / "w.pt")
    (place / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def make():\n    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))\n"
        f"    net.load_state_dict(torch.load({str(place / 'w.pt')!r}))\n    return net\n"
        "def three():\n    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))\n",
        encoding="utf-8",
    )
    return place


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol's attacks with few queries."""
    for name in PROTOCOLS["black-box"].attacks:
        monkeypatch.setitem(ATTACKS._entries, name, ATTACKS[name].with_settings({"queries": 120}))


def test_a_session_is_attacked_verified_and_audited(folder: Path, fewer: None, tmp_path: Path, capsys) -> None:
    model = ["--model", f"onnxruntime:{folder / 'net.onnx'}"]
    data = ["--data", str(folder / "mine.npz")]
    asked = ["--protocol", "black-box", "--eps", "0.09,0.11", "--samples", "10"]
    evaluate([*model, *data, *asked, "--out", str(tmp_path), "--keep-images"])
    (path,) = (tmp_path / "black-box").glob("onnxruntime-net-*.parquet")
    results = load_results(path)
    assert (results.all_attacks_N == np.float32(0.11)).all()
    assert all(count.gradient == 0 for count in results.card.queries.values())
    assert results.card.model.source.format == "onnxruntime"
    verify([str(path), *model])
    assert "holds" in capsys.readouterr().out
    audit([*model, *data, *asked, "--results", str(tmp_path)])
    (row,) = leaderboard([load_results(path)]).itertuples()
    names = {finding.name for finding in load_results(path).card.audit.findings}
    assert names == {"planted", "effort", "repeatable"}
    assert np.isnan(row.zero_grad)


def test_other_protocols_refuse_a_session_and_name_this_one(folder: Path, tmp_path: Path) -> None:
    model = ["--model", f"onnxruntime:{folder / 'net.onnx'}", "--data", str(folder / "mine.npz")]
    with pytest.raises(BadInput, match=r"no gradient reaches its pixels.*'black-box' needs no gradients"):
        evaluate([*model, "--out", str(tmp_path)])
    assert not [*tmp_path.iterdir()]


def test_black_box_results_stand_below_those_with_gradients() -> None:
    attacks = PROTOCOLS["black-box"].attacks
    assert strong_enough(attacks, noise=False)
    assert strength(attacks, noise=False) < strength(PROTOCOLS["strict"].attacks, noise=False)
    assert not strong_enough(("square",), noise=False)


@pytest.mark.parametrize("attack", ["fgsm", "deepfool", "pgd"])
def test_images_of_a_model_break_its_twin_at_the_exact_radius_without_its_gradients(attack: str) -> None:
    problem = linear("linf", samples=4)

    def without(x: Tensor) -> Tensor:
        assert not x.requires_grad
        return problem.model(x).detach()

    asked = {"eps": [0.05, 0.09, 0.11], "attacks": attack, "health": "ignore"}
    table = ibrobust.breaking_radii(without, problem.x, problem.y, transfer_from=problem.model, **asked)
    assert (table.rows[attack] == np.float32(0.11)).all()
    assert table.card.settings.label == f"{attack}-from-Sequential"
    assert table.card.settings.search == "exhaustive"


def test_images_of_a_model_that_knows_nothing_break_less() -> None:
    problem, ignorant = linear("linf", samples=6), nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    with torch.no_grad():
        ignorant[1].weight.copy_(problem.model[1].weight.flip(1))
    asked = {"eps": [0.11], "attacks": "pgd", "health": "ignore"}
    table = ibrobust.breaking_radii(problem.model, problem.x, problem.y, transfer_from=ignorant, **asked)
    assert np.isinf(table.rows["pgd"]).any()


def test_the_card_names_the_other_model_and_a_changed_one_is_asked_anew(folder: Path, tmp_path: Path) -> None:
    model = ["--model", f"{folder / 'net.py'}:make", "--data", str(folder / "mine.npz"), "--out", str(tmp_path)]
    other = f"{folder / 'net.py'}:make"
    evaluate([*model, "--attacks", "fgsm", "--eps", "0.09,0.11", "--transfer-from", other])
    (path,) = tmp_path.glob("*-from-*/*.parquet")
    results = load_results(path)
    assert results.card.transfer.weights_sha256 == results.card.model.weights_sha256
    assert results.card.transfer.run == "net-make"
    assert leaderboard([results])["reason"].tolist() == [
        "not a strict protocol; the images are another model's, which no audit is about"
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{}/net.py:three", "transfer_from: it answers with 3 classes, and the model that is scored with 5"),
        ("{}/none.onnx", "transfer_from: .*none.onnx"),
    ],
)
def test_a_model_that_cannot_be_the_other_one_is_refused(folder: Path, tmp_path: Path, source, message) -> None:
    model = ["--model", f"{folder / 'net.py'}:make", "--data", str(folder / "mine.npz"), "--out", str(tmp_path)]
    with pytest.raises(Exception, match=message):
        evaluate([*model, "--attacks", "fgsm", "--transfer-from", source.format(folder)])
