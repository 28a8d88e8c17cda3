"""Every kind of extension as CONTRIBUTING shows it: one file outside the package, used through the command line."""

import hashlib
import json
import math
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from ibrobust.robustness.storage import load_results
from tests.conftest import ROOT

SNIPPETS = dict(
    re.findall(
        r"^### (?:An?|Noise|) ?([^\n]*)\n.*?```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S
    )
)
RUN = "zoo/runs/digits-mlp-l2-g0.001-s0-22d0aead"
SMALL = ("--samples", "6", "--eps", "0:0.1:3")
SHORT = ("--epochs", "1", "--train-samples", "64", "--latent", "8")
KINDS = (
    "regulariser", "objective on weights", "attack", "protocol", "norm", "encoder", "in a layer",
    "law of the latent's noise", "data set", "model format", "backend", "check of an audit",
)  # fmt: skip


class Desk:
    """A folder with one plugin in it and nothing else, and the command line: with the plugin in a process of its own,
    without it here."""

    def __init__(self, folder: Path, command, kind: str) -> None:
        self.folder, self.command = folder, command
        (folder / "mine.py").write_text(SNIPPETS[kind])
        self.digest = {"mine.py": hashlib.sha256(SNIPPETS[kind].encode()).hexdigest()}

    def __call__(self, *words: str) -> str:
        finished = self.command(*words, "--plugin", "mine.py", cwd=self.folder)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def refusal(self, *words: str) -> str:
        """The one line that refuses the words."""
        finished = self.command(*words, "--plugin", "mine.py", cwd=self.folder)
        assert finished.returncode == 2
        assert finished.stderr.count("\n") == 1
        return finished.stderr.strip()

    def trained(self, *words: str):
        """The run, whose card names the plugin."""
        self("train", *SHORT, *words)
        (run,) = find_runs_of(self.folder)
        assert run["plugins"] == self.digest
        return run

    def evaluated(self, *words: str):
        """The results, whose card names the plugin; they are read and reported without it."""
        self("evaluate", *SMALL, "--out", "out", *words)
        (path,) = (self.folder / "out").glob("*/*.parquet")
        results = load_results(path)
        assert results.card.plugins == self.digest
        import_module("ibrobust.commands.report").main([str(self.folder / "out"), "--out", str(self.folder / "report")])
        return results

    def without_the_plugin(self, *words: str):
        """The same in a folder of its own."""
        import_module("ibrobust.commands.evaluate").main([*SMALL, "--out", str(self.folder / "plain"), *words])
        (path,) = (self.folder / "plain").glob("*/*.parquet")
        return load_results(path)


def find_runs_of(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("runs/*/card.json"))]


@pytest.fixture
def desk(request, tmp_path, command):
    return Desk(tmp_path, command, request.param)


def on(kind: str):
    return pytest.mark.parametrize("desk", [kind], indirect=True, ids=[kind])


def test_every_kind_is_shown_in_a_few_lines():
    assert tuple(SNIPPETS) == KINDS
    assert max(len(snippet.strip().splitlines()) for snippet in SNIPPETS.values()) <= 40


@on("regulariser")
def test_a_regulariser(desk):
    run = desk.trained("--reg", "l1", "--gamma", "0.1")
    assert run["recipe"]["reg"] == "l1"
    history = pd.read_csv(desk.folder / "runs" / run["run"] / "history.csv")
    assert (history["loss"] - history["likelihood"] - 0.1 * history["regulariser"]).abs().max() < 1e-4
    assert (history["regulariser"] > 0).all()


@on("objective on weights")
def test_an_objective_on_weights_goes_with_any_latent(desk):
    run = desk.trained("--reg", "l1-weights", "--gamma", "1e-5", "--latent-kind", "categorical")
    history = pd.read_csv(desk.folder / "runs" / run["run"] / "history.csv")
    assert (history["regulariser"] > 1000).all(), "the sum over tens of thousands of weights"
    refusal = desk.refusal("train", "--reg", "l2", "--latent-kind", "categorical")
    assert refusal.endswith("choose l1-weights or none or weight-decay")


@on("attack")
def test_an_attack_alone_and_beside_others(desk):
    results = desk.evaluated("--attacks", "mi-fgsm,pgd", RUN)
    assert results.attacks == ["mi-fgsm", "pgd"]
    assert results.card.attacks["mi-fgsm"] == {"steps": 10, "decay": 1.0}
    mine, fgsm = results.rows["mi-fgsm"], desk.without_the_plugin("--attacks", "fgsm", RUN).rows["fgsm"]
    assert ((mine == 0) == (fgsm == 0)).all()
    assert mine.isin([0, np.float32(0.05), np.float32(0.1), np.inf]).all()
    assert (mine < np.inf).any()


@on("protocol")
def test_a_protocol(desk):
    assert "paper, quick, strict" in " ".join(desk("evaluate", "--help").split())
    results = desk.evaluated("--protocol", "quick", RUN)
    assert results.attacks == ["fgsm", "apgd-ce"]
    assert list((desk.folder / "out").glob("quick/*.parquet"))
    pd.testing.assert_frame_equal(results.rows, desk.without_the_plugin("--attacks", "fgsm,apgd-ce", RUN).rows)


LINEAR = """
import torch
from torch import nn

def make():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).double()
    slope = torch.linspace(-1, 1, 64, dtype=torch.float64)
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([0 * slope, slope]))
        model[1].bias.copy_(torch.tensor([0.0, -0.5 * slope.sum()]))
    return model.float()
"""


@on("norm")
def test_a_norm(desk):
    """On a linear model whose exact distance is known: the margin over the dual norm of the slope."""
    (desk.folder / "linear.py").write_text(LINEAR)
    slope = np.linspace(-1, 1, 64)
    dual = (np.abs(slope) ** 1.5).sum() ** (2 / 3)
    exact = 0.025 + 0.03 * np.arange(12)
    x = 0.5 - (exact * dual / (slope @ slope))[:, None] * slope
    np.savez(desk.folder / "mine.npz", x=x.reshape(12, 1, 8, 8).astype(np.float32), y=np.zeros(12, np.int64))
    words = ("--samples", "12", "--norm", "l3", "--eps", "0:0.4:41", "--model", "linear.py:make", "--data", "mine.npz")
    results = desk.evaluated(*words)
    next_on_the_grid = np.ceil(exact * 100 - 1e-3) / 100
    for attack in ("fgsm", "deepfool", "bim", "pgd"):
        assert (results.rows[attack] >= exact - 1e-6).all(), attack
        assert (results.rows[attack] <= next_on_the_grid + 0.0101).all(), attack
    assert np.allclose(results.rows["fgsm"], next_on_the_grid, atol=1e-6)


@on("encoder")
def test_an_encoder(desk):
    run = desk.trained("--model", "linear", "--noise", "none")
    model = "runs/" + run["run"]
    results = desk.evaluated(model)
    assert results.card.model.recipe.model == "linear"


@on("in a layer")
def test_noise_in_a_layer(desk):
    run = desk.trained("--model", "noisy", "--noise", "none")
    results = desk.evaluated("runs/" + run["run"], "--view", "fresh", "--attacks", "fgsm")
    null = results.rows[results.rows["attack"] == "null-attack"]
    assert set(null["eps"]) == {0, np.float32(0.05), np.float32(0.1)}
    assert (null.groupby("sample", observed=True)[["mean", "fresh"]].nunique() == 1).all(axis=None)
    assert "encoding_entropy" not in run["metrics"]["test"], "without noise in the latent"


@on("law of the latent's noise")
def test_a_law_of_the_latents_noise(desk):
    run = desk.trained("--noise", "uniform")
    given_input = run["metrics"]["test"]["encoding_entropy_given_input"]
    assert given_input == pytest.approx(8 * (math.log(12) / 2 + math.log(0.2)), abs=1e-5)
    desk.evaluated("runs/" + run["run"], "--attacks", "fgsm")


@on("data set")
def test_a_data_set(desk):
    run = desk.trained("--data", "stripes", "--train-samples", "0", "--epochs", "40", "--batch-size", "16")
    assert run["metrics"]["test"]["error"] == 0
    assert desk.evaluated("runs/" + run["run"]).clean == 1


@on("model format")
def test_a_model_format(desk):
    generator = torch.Generator().manual_seed(0)
    weights = {"1.weight": torch.randn(10, 64, generator=generator), "1.bias": torch.zeros(10)}
    save_file(weights, desk.folder / "net.safetensors")
    before = desk.evaluated("--model", "net.safetensors", "--data", "digits", "--attacks", "fgsm")
    assert before.card.run == "net-digits"
    save_file({**weights, "1.weight": -weights["1.weight"]}, desk.folder / "net.safetensors")
    desk("evaluate", *SMALL, "--out", "out", "--model", "net.safetensors", "--data", "digits", "--attacks", "fgsm")
    found = [load_results(path) for path in sorted((desk.folder / "out").glob("*/*.parquet"))]
    assert any((after.rows["prediction"] != before.rows["prediction"]).any() for after in found)
    refusal = desk.refusal("evaluate", "--model", "net.linear", "--data", "digits")
    assert refusal.startswith("error: --model 'net.linear': write FILE.py:FACTORY, package.module:FACTORY, ")
    assert refusal.endswith(", FILE.safetensors")


@on("backend")
def test_a_backend(desk):
    words = ("--attacks", "fgsm", RUN)
    mine = desk.evaluated("--backend", "by-hand", *words)
    native = desk.without_the_plugin("--search", "exhaustive", *words)
    assert (mine.rows["fgsm"] == native.rows["fgsm"]).all()
    refusal = desk.refusal("evaluate", "--backend", "by-hand", RUN)
    assert "by-hand has no deepfool, bim, pgd in linf; it has fgsm" in refusal


@on("check of an audit")
def test_a_check_of_an_audit(desk):
    text = desk("audit", "--samples", "12", "--eps", "0:0.1:3", RUN)
    assert "of the samples are misclassified without any attack" in text
    found = pd.read_csv(desk.folder / "results" / "audit.csv").set_index("name")
    claim = load_results(next((desk.folder / "results").glob("paper/*.parquet")))
    assert found.loc["clean-error", "value"] == pytest.approx(1 - claim.clean, abs=1e-4)
    assert list(found.index) == sorted(found.index)
    assert len(found) > 5
