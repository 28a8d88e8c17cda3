"""Results of a model of your own are its own: not those of what it was before it was trained or changed."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ibrobust.experiments.evaluation import evaluate_subject
from ibrobust.experiments.subject import foreign_subject
from ibrobust.robustness.question import Execution
from ibrobust.robustness.settings import make_settings
from ibrobust.subjects.digests import digests
from ibrobust.subjects.formats import load_model
from ibrobust.subjects.formats.python import module_name

HELPER = "SIZE = 10\n"
NET = """
import torch
from torch import nn
try:
    from .helper import SIZE
except ImportError:
    from helper import SIZE

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, SIZE))
        self.register_buffer("shift", torch.zeros(1), persistent=False)

    def forward(self, x):
        return self.layers(x) + self.shift

def make():
    torch.manual_seed(0)
    return Net()
"""
SETTINGS = make_settings({"eps": "0.1"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "net.py").write_text(NET)
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)).numpy()
    np.savez(tmp_path / "mine.npz", x=x, y=np.arange(20) % 10)
    return tmp_path


def digests_of(folder: Path) -> dict[str, str]:
    """As a new process finds them."""
    sys.modules.pop("helper", None)
    return digests(load_model(f"{folder / 'net.py'}:make"), module_name(folder / "net.py"))


def test_the_same_files_have_the_same_digests_wherever_they_lie(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in ("net.py", "helper.py"):
        (elsewhere / file).write_text((folder / file).read_text())
    assert digests_of(folder) == digests_of(folder) == digests_of(elsewhere)


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("net.py", "manual_seed(0)", "manual_seed(1)", {"weights_sha256", "code_sha256"}),
        ("net.py", "zeros(1)", "ones(1)", {"weights_sha256", "code_sha256"}),
        ("net.py", "nn.ReLU()", "nn.GELU()", {"code_sha256"}),
        ("helper.py", "SIZE = 10", "SIZE = 5 + 5", {"code_sha256"}),
    ],
)
def test_what_changes_the_model_changes_a_digest(folder, file, old, new, changed):
    before = digests_of(folder)
    (folder / file).write_text((folder / file).read_text().replace(old, new))
    after = digests_of(folder)
    assert {name for name in before if before[name] != after[name]} == changed


def test_weights_and_layers_count_where_no_file_says_so():
    first, second = (torch.nn.Sequential(torch.nn.Linear(3, 3), layer) for layer in (torch.nn.ReLU(), torch.nn.GELU()))
    second[0].load_state_dict(first[0].state_dict())
    one, other = digests(first, "torch"), digests(second, "torch")
    assert one["weights_sha256"] == other["weights_sha256"]
    assert one["code_sha256"] != other["code_sha256"]
    with torch.no_grad():
        second[0].bias += 1e-3
    assert digests(second, "torch")["weights_sha256"] != other["weights_sha256"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.complex64])
def test_tensors_of_every_kind(dtype):
    model = torch.nn.Linear(2, 2)
    model.register_buffer("other", torch.zeros((), dtype=dtype))
    before = digests(model, "torch")
    model.other.fill_(1)
    assert digests(model, "torch")["weights_sha256"] != before["weights_sha256"]


def test_a_model_that_was_changed_is_evaluated_again(folder):
    def evaluated() -> float | None:
        sys.modules.pop("helper", None)
        subject = foreign_subject(f"{folder / 'net.py'}:make", str(folder / "mine.npz"), data_dir=None, download=False)
        return evaluate_subject(subject, None, SETTINGS, Execution(device="cpu"), out=folder / "out")[1]

    assert evaluated() is not None
    assert evaluated() is None, "what is there is kept"
    (folder / "net.py").write_text(NET.replace("manual_seed(0)", "manual_seed(1)"))
    assert evaluated() is not None
