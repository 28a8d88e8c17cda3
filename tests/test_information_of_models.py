"""`information --model`: the latent of anybody's network, measured as a run's; without one, a line says what to do."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from ibrobust.commands import information
from ibrobust.datasets import load_dataset
from ibrobust.entropies.measurement import measured
from ibrobust.foreign import load_model
from tests.conftest import ROOT
from tests.model_forms import striped
from tests.refusals import exit_of, refused

(FACTORY,) = re.findall(
    r"```python\n(# cut\.py\n.*?)```", (ROOT / "docs" / "models.md").read_text(encoding="utf-8"), re.DOTALL
)
QUICK = ["--repeats", "1", "--device", "cpu", "--threads", "1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The file that docs/models.md shows, and data with a training part."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.py").write_text(FACTORY)
    x, y = (part.numpy() for part in striped(60))
    np.savez("mine.npz", x=x[:40], y=y[:40], x_train=x[20:], y_train=y[20:])
    np.savez("tested.npz", x=x[:40], y=y[:40])
    return tmp_path


def test_a_network_cut_in_two_is_measured_as_a_run_is(folder):
    information.main(["--model", "cut.py:make", "--data", "mine.npz", "--view", "fresh", *QUICK])
    table = pd.read_csv("results/information.csv")
    assert set(table["run"]) == {"cut-make-mine"}
    model, data = load_model("cut.py:make"), load_dataset("mine.npz")
    for name, split in (("train", data.train), ("test", data.test)):
        rows = dict(measured(model, split, view="fresh").rows)
        found = table[table["split"] == name].set_index("quantity")
        for quantity in ("label_entropy", "decoder_cross_entropy"):
            if name == "test" or quantity == "label_entropy":
                assert found.loc[quantity, "nats"] == pytest.approx(rows[quantity].nats, abs=1e-6)
        given_input = found.loc["encoding_entropy_given_input", "nats"]
        assert given_input == pytest.approx(0, abs=1e-6), "zero-entropy noise"
        preserved = found.loc["preserved_information"]
        assert 0 <= preserved["low"] <= preserved["high"] < np.inf


def test_without_a_training_part_the_test_part_is_measured(folder, capsys):
    information.main(["--model", "cut.py:make", "--data", "tested.npz", "--view", "mean", "--figures", *QUICK])
    assert set(pd.read_csv("results/information.csv")["split"]) == {"test"}
    assert "cut-make-tested · train: no samples" in capsys.readouterr().out
    assert (folder / "results" / "cut-make-tested" / "diagram.png").is_file()


def test_a_model_without_a_latent_is_refused_with_what_to_do(folder, capsys, monkeypatch):
    (folder / "plain.py").write_text("import cut\ndef make():\n    return cut.make().encoder\n")
    asked = ["information", "--data", "mine.npz", *QUICK, "--model"]
    for words, named in (
        (["plain.py:make"], ["model plain-make-mine: it is Sequential, which answers with logits and gives no latent",
                             "return ibrobust.models.bottleneck.Bottleneck(encoder, decoder, noise=…)"]),
        (["cut.py:make", "--mean", "0.5", "--std", "0.5"], ["a Bottleneck normalises inside (pixel_mean, pixel_std)"]),
        (["cut.py:make", "zoo"], ["models of your own are taken alone; leave out zoo"]),
    ):  # fmt: skip
        refused(folder, capsys, monkeypatch, [*asked, *words], named)
    for words, named in (
        (["--data", "mine.npz"], "a run has data of its own; --data goes with --model"),
        (["--mean", "0.5"], "a run says everything about its model; --mean goes with --model"),
        (["--model", "cut.py:make"], "needs --data, a data set's name, a file or a folder"),
    ):
        refused(folder, capsys, monkeypatch, ["information", *words], [named])


def test_a_decoder_that_is_not_linear_is_not_trained_anew(folder, capsys, monkeypatch):
    deep = FACTORY.replace("net[-1]", "nn.Sequential(nn.ReLU(), net[-1])")
    assert deep != FACTORY
    (folder / "deep.py").write_text(deep)
    words = ["--model", "deep.py:make", "--data", "tested.npz", *QUICK]
    code, said = exit_of(capsys, monkeypatch, "information", *words, "--view", "fresh", "--retrain-decoder")
    assert (code, said.count("\n")) == (1, 2)
    assert "retrain_decoder: the decoder is Sequential; only a linear one is trained anew" in said
    assert not (folder / "results" / "information.csv").exists()
    assert torch.is_grad_enabled()
