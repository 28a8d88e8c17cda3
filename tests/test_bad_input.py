"""Whatever is wrong with the input: one line that names it, exit code 2, nothing half-written."""

import json

import numpy as np
import pytest

from ibrobust.files import released_zoo
from ibrobust.robustness.storage import load_results, save_results
from tests.cards import asked_otherwise
from tests.refusals import RUN, refused

TRAIN = [
    (["--reg", "l3"], ["'l3'", "l2", "logvar"]),
    (["--model", "vgg"], ["'vgg'", "mlp"]),
    (["--data", "svhn"], ["'svhn'", "digits", "mnist"]),
    (["--reg", "l2", "--gamma", "-1"], ["--gamma", "-1"]),
    (["--reg", "l2", "--gamma", "nan"], ["--gamma", "nan"]),
    (["--gamma", "0.5"], ["gamma", "0.5", "none"]),
    (["--epochs", "0"], ["--epochs", "0"]),
    (["--epochs", "many"], ["--epochs", "many"]),
    (["--noise", "loud"], ["--noise", "'loud'", "zero-entropy"]),
    (["--noise", "-0.1"], ["--noise", "'-0.1'"]),
    (["--reg", "dvib", "--noise", "none"], ["--noise none", "dvib"]),
    (["--device", "abacus"], ["--device", "'abacus'"]),
    (["--threads", "0"], ["--threads", "'0'"]),
    (["--data", "mnist"], ["--data-dir", "IBROBUST_DATA"]),
    (["--data", "mnist", "--data-dir", "nowhere"], ["--data-dir", "'nowhere'"]),
    (["--data", "mnist", "--data-dir", "."], ["MNIST", "--download"]),
    (["--recipe", "nowhere.toml"], ["nowhere.toml"]),
    (["--unknown"], ["--unknown"]),
]


@pytest.mark.parametrize(("words", "named"), TRAIN, ids=[" ".join(words) for words, _ in TRAIN])
def test_train_refuses(folder, capsys, monkeypatch, words, named):
    refused(folder, capsys, monkeypatch, ["train", *words], named)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("colour = 3", ["'colour'", "gamma"]),
        ('reg = "l3"', ["'l3'", "l2"]),
        ('reg = "l2"\ngamma = -1', ["gamma", "-1"]),
        ("epochs = 0", ["epochs", "0"]),
        ("reg = ", ["recipe.toml"]),
    ],
)
def test_train_refuses_a_recipe(folder, capsys, monkeypatch, content, named):
    (folder / "recipe.toml").write_text(content)
    refused(folder, capsys, monkeypatch, ["train", "--recipe", "recipe.toml"], named)


EVALUATE = [
    *[(["--eps", eps], ["--eps", repr(eps)]) for eps in ("", "a:b", "0:0.1:0", "0:0.1:x", "nan", "0.2,0.1")],
    (["--eps=-0.1,0.2"], ["--eps", "negative"]),
    (["--eps", "0"], ["--eps", "above 0"]),
    (["--protocol", "weak"], ["'weak'", "paper"]),
    (["--norm", "l7"], ["'l7'", "linf"]),
    (["--search", "guess"], ["'guess'", "bisect"]),
    (["--columns", "all"], ["'all'", "standing"]),
    (["--backend", "cleverhans"], ["'cleverhans'", "foolbox"]),
    (["--noise", "loud"], ["'loud'", "fresh"]),
    (["--noise", "averaged:0"], ["'averaged:0'"]),
    (["--samples", "501"], ["--samples 501", "500"]),
    (["--samples", "9:3"], ["--samples", "'9:3'"]),
    (["--samples", "0"], ["--samples", "'0'"]),
    (["--batch-size", "0"], ["--batch-size", "'0'"]),
    (["--restarts", "0"], ["--restarts", "'0'"]),
    (["--restarts", "2", "--backend", "foolbox"], ["--restarts 2", "'foolbox'"]),
    (["nowhere"], ["'nowhere'"]),
    (["--data", "digits"], ["--model"]),
    (["--model", "mine.py:net"], ["--data"]),
]


@pytest.mark.parametrize(("words", "named"), EVALUATE, ids=[" ".join(words) for words, _ in EVALUATE])
def test_evaluate_refuses(folder, capsys, monkeypatch, words, named):
    refused(folder, capsys, monkeypatch, ["evaluate", *words], named)


@pytest.mark.parametrize(
    ("file", "spoil", "named"),
    [
        ("weights.safetensors", lambda content: content[:-1], ["weights", "SHA-256"]),
        ("weights.safetensors", lambda content: content[:-1] + bytes([content[-1] ^ 1]), ["weights", "SHA-256"]),
        ("card.json", lambda content: content[: len(content) // 2], ["card.json"]),
        ("card.json", lambda content: content.replace(b"shape", b"form"), ["card.json", "shape"]),
    ],
)
def test_evaluate_refuses_a_spoiled_run(folder, capsys, monkeypatch, file, spoil, named):
    path = folder / "runs" / RUN / file
    path.write_bytes(spoil(path.read_bytes()))
    refused(folder, capsys, monkeypatch, ["evaluate"], named)


def test_evaluate_refuses_a_truncated_safetensors_file_whose_card_agrees(folder, capsys, monkeypatch):
    import hashlib

    run = folder / "runs" / RUN
    weights = (run / "weights.safetensors").read_bytes()[:-100]
    (run / "weights.safetensors").write_bytes(weights)
    card = json.loads((run / "card.json").read_text())
    (run / "card.json").write_text(json.dumps(card | {"weights_sha256": hashlib.sha256(weights).hexdigest()}))
    refused(folder, capsys, monkeypatch, ["evaluate"], ["weights.safetensors", "cannot be read"])


def test_report_refuses_a_truncated_parquet_file(folder, capsys, monkeypatch):
    (folder / "results" / "paper").mkdir(parents=True)
    whole = next((released_zoo() / "results" / "paper").glob("*.parquet")).read_bytes()
    (folder / "results" / "paper" / "half.parquet").write_bytes(whole[: len(whole) // 2])
    refused(folder, capsys, monkeypatch, ["report"], ["half.parquet"])
    refused(folder, capsys, monkeypatch, ["report", "empty"], ["empty"])


def test_report_refuses_two_results_of_one_run_that_do_not_fit_together(folder, capsys, monkeypatch):
    evaluated = released_zoo() / "results" / "paper" / f"{RUN}.parquet"
    results = load_results(evaluated)
    for name, other in (("seed", asked_otherwise(results, seed=1)), ("samples", results)):
        for place, kept in (("one", results), ("two", other)):
            save_results(kept, folder / place / "paper" / evaluated.name)
        refused(folder, capsys, monkeypatch, ["report", "one", "two"], [f"two/paper/{RUN}.parquet: not shards", name])


def test_an_output_folder_that_cannot_be_written(folder, capsys, monkeypatch):
    (folder / "file").write_text("not a folder")
    refused(folder, capsys, monkeypatch, ["train", "--epochs", "1", "--runs", "file/runs"], ["file/runs"])
    refused(folder, capsys, monkeypatch, ["evaluate", "--samples", "5", "--out", "file/out"], ["file/out"])


X, Y = np.zeros((4, 1, 8, 8), np.float32), np.array([0, 1, 2, 9])
ARRAYS = {
    "no x": ({"y": Y}, ["'x'"]),
    "no y": ({"x": X}, ["'y'"]),
    "pixels above 1": ({"x": X + 2, "y": Y}, ["[0, 1]"]),
    "NaN pixels": ({"x": X * np.nan, "y": Y}, ["[0, 1]", "NaN"]),
    "lengths differ": ({"x": X, "y": Y[:3]}, ["4", "(3,)"]),
    "negative labels": ({"x": X, "y": Y - 1}, ["y", "-1"]),
    "labels out of range": ({"x": X, "y": Y + 3}, ["12"]),
    "labels not integers": ({"x": X, "y": Y / 2}, ["float64"]),
    "not images": ({"x": X[0], "y": Y}, ["(1, 8, 8)"]),
}
NET = "from torch import nn\ndef net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"


@pytest.mark.parametrize("case", ARRAYS)
def test_evaluate_refuses_arrays(folder, capsys, monkeypatch, case):
    arrays, named = ARRAYS[case]
    np.savez(folder / "mine.npz", **arrays)
    (folder / "net.py").write_text(NET)
    words = ["evaluate", "--model", "net.py:net", "--data", "mine.npz"]
    refused(folder, capsys, monkeypatch, words, named)


def test_data_that_is_empty_or_no_data(folder, capsys, monkeypatch):
    (folder / "empty").mkdir()
    (folder / "net.py").write_text(NET)
    (folder / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    for data, named in (("empty", "'empty'"), ("torn.npz", "torn.npz"), ("absent.npz", "absent.npz")):
        refused(folder, capsys, monkeypatch, ["evaluate", "--model", "net.py:net", "--data", data], [named])


NAN = """from torch import nn
class Net(nn.Module):
    def forward(self, x): return x.flatten(1)[:, :10] * float("nan")
make = Net
"""
MODELS = {
    "no factory": ("net = None", ["net.py", "make"]),
    "factory raises": ("def make(): raise RuntimeError('no weights')", ["make", "no weights"]),
    "not a module": ("def make(): return 3", ["make", "Module"]),
    "file raises": ("1 / 0", ["net.py", "division by zero"]),
    "NaN": (NAN, ["NaN"]),
    "wrong shape": ("from torch import nn\nmake = nn.Identity\n", ["shape"]),
    "too few classes": (NET.replace("net()", "make()").replace("10", "5"), ["5"]),
}


@pytest.mark.parametrize("case", MODELS)
def test_evaluate_refuses_a_model(folder, capsys, monkeypatch, case):
    source, named = MODELS[case]
    (folder / "net.py").write_text(source)
    refused(folder, capsys, monkeypatch, ["evaluate", "--model", "net.py:make", "--data", "digits"], named)


def test_a_model_file_that_is_not_there(folder, capsys, monkeypatch):
    refused(folder, capsys, monkeypatch, ["evaluate", "--model", "net.py:make", "--data", "digits"], ["net.py"])
