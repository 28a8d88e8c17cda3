"""What a job needs goes with it to machines that share no folder with this one."""

import pickle
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ibrobust import plugins
from ibrobust.datasets import Split
from ibrobust.errors import BadInput
from ibrobust.experiments.jobs import Workload
from ibrobust.experiments.shipping import shipped, unloaded
from ibrobust.experiments.subject import foreign_subject
from ibrobust.files import released_zoo
from ibrobust.subjects.zoo import load_run
from tests.refusals import RUN

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass(frozen=True)
class Answers:
    """A job: images to logits of a model that is loaded where the job runs."""

    model: Any

    def __call__(self, x: torch.Tensor, _tell) -> torch.Tensor:
        with torch.no_grad():
            return self.model()(x)


@pytest.fixture
def elsewhere(forked, tmp_path):
    """What a job that was sent makes of images, in another process, in another folder."""
    (tmp_path / "receiving.py").write_text(
        "import torch\nfrom ibrobust.experiments.shipping import unloaded\n"
        "given = torch.load('in.pt', weights_only=False)\n"
        "torch.save(unloaded(given['sent'])(given['x'], None), 'out.pt')"
    )

    def answer(sent: bytes, x: torch.Tensor) -> torch.Tensor:
        torch.save({"sent": sent, "x": x}, tmp_path / "in.pt")
        process = forked("receiving", cwd=tmp_path)
        assert process.wait() == 0, process.said()[1]
        return torch.load(tmp_path / "out.pt")

    return answer


NET = """import torch
from torch import nn
from layers import Scaled, shifted
WEIGHT = torch.load("weight.pt")
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scaled, self.linear = Scaled(), nn.Linear(4, 2)
        self.linear.weight.data = WEIGHT
        self.last = shifted
    def forward(self, x):
        return self.last(self.linear(self.scaled(x).flatten(1)))
def make():
    torch.manual_seed(0)
    return Net()
"""
LAYERS = """from torch import nn
SHIFT = 3.0
class Scaled(nn.Module):
    def forward(self, x):
        return 2 * x
def shifted(x):
    return x + SHIFT
"""


def their_model(folder: Path, monkeypatch, model: str):
    """A model of one's own as `evaluate` takes it; its files are gone afterwards."""
    monkeypatch.chdir(folder)
    (folder / "net.py").write_text(NET, encoding="utf-8")
    (folder / "layers.py").write_text(LAYERS, encoding="utf-8")
    torch.save(torch.tensor([[1.0, -2.0, 3.0, 0.5], [0.0, 1.0, -1.0, 2.0]]), folder / "weight.pt")
    x = np.random.default_rng(0).random((20, 1, 2, 2), np.float32)
    np.savez(folder / "mine.npz", x=x, y=np.arange(20) % 2)
    if model.endswith(".pt"):
        torch.manual_seed(1)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        torch.jit.trace(net, torch.from_numpy(x)).save(model)
    subject = foreign_subject(model, "mine.npz", data_dir=None, download=False)
    return subject, torch.from_numpy(x)


@pytest.mark.parametrize("model", ["net.py:make", "scripted.pt"])
def test_a_model_of_ones_own_is_the_same_without_its_files(elsewhere, tmp_path, monkeypatch, model):
    mine = tmp_path / "mine"
    mine.mkdir()
    subject, x = their_model(mine, monkeypatch, model)
    with torch.no_grad():
        expected = subject.model()(x)
    sent = shipped(Workload(Answers(subject.model), lambda: None))
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(mine)
    assert torch.equal(elsewhere(sent, x), expected)


def test_a_run_is_the_same_without_its_folder(tmp_path):
    shutil.copytree(released_zoo() / "runs" / RUN, tmp_path / RUN)
    run = load_run(tmp_path / RUN)
    x = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        expected = run.model()(x)
    sent = shipped(Workload(Answers(run.model), lambda: None))
    shutil.rmtree(tmp_path / RUN)
    assert torch.equal(unloaded(sent)(x, None), expected)


def test_a_plugin_is_the_same_without_its_file(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "_LOADED", {})
    lines = (
        "from helper import NAME\nfrom ibrobust.datasets import DATASETS\n"
        "DATASETS[NAME] = lambda folder, download: None"
    )
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "sent_plugin.py").write_text(lines, encoding="utf-8")
    (mine / "helper.py").write_text("NAME = 'sent-data'", encoding="utf-8")
    plugins.load_plugins([mine / "sent_plugin.py"])
    sent = shipped(Workload(Looked(), lambda: None))
    shutil.rmtree(mine)
    assert elsewhere(sent, torch.zeros(1)).tolist() == [1.0]


@dataclass(frozen=True)
class Looked:
    """A job: whether the data set of the plugin is known."""

    def __call__(self, _item, _tell) -> torch.Tensor:
        from ibrobust.datasets import DATASETS

        return torch.tensor([float("sent-data" in DATASETS)])


def test_of_samples_only_those_of_a_block_are_sent():
    images = torch.arange(1000 * 64, dtype=torch.float32).view(1000, 1, 8, 8)
    block = Split(images, torch.arange(1000))[10:20]
    sent = pickle.dumps(block)
    assert len(sent) < 5000
    assert torch.equal(pickle.loads(sent).x, images[10:20])
    assert torch.equal(pickle.loads(sent).y, torch.arange(10, 20))


def test_a_model_that_cannot_be_sent_is_refused():
    class Holding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lock = __import__("threading").Lock()

    with pytest.raises(BadInput, match=r"^engine 'ray' cannot send this model to other machines: TypeError: .*lock"):
        shipped(Workload(Answers(Holding()), lambda: None))


def test_what_is_not_installed_there_is_named(monkeypatch):
    sent = shipped(Workload(Answers(torch.nn.Identity()), lambda: None))
    monkeypatch.setitem(sys.modules, "tests.test_shipping", None)
    with pytest.raises(BadInput, match=r"a worker of the cluster cannot load what it was sent: .*tests.test_shipping"):
        unloaded(sent)
