"""What a terminal shows while a command works: what the start is doing, then the attack in work and what is left."""

import io
import re
import sys

import numpy as np
import pytest

from ibrobust.commands.command_line import doing
from tests.refusals import copy_few_results, exit_of


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


NET = """from torch import nn, manual_seed
def make():
    manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
"""


def test_from_the_start_to_the_figures_something_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    images = np.random.default_rng(0).random((40, 1, 4, 4), np.float32)
    np.savez(tmp_path / "mine.npz", x=images, y=np.arange(40) % 2)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)
    words = ["evaluate", "--model", "net.py:make", "--data", "mine.npz", "--samples", "40", "--eps", "0:0.1"]
    code, _ = exit_of(capsys, monkeypatch, *words)
    said = terminal.getvalue()
    assert not code, said
    steps = ["loading the data mine.npz …", "loading the model net.py:make …",
             "looking at the model's answers and gradients …", "net-make-mine:", "drawing figures …"]  # fmt: skip
    places = [said.find(step) for step in steps]
    assert -1 not in places, dict(zip(steps, places, strict=True))
    assert places == sorted(places)
    bars = re.findall(r"net-make-mine: +(\d+)%.*?, ([a-z -]+)\]", said)
    assert bars[-1] == ("100", "pgd"), "the attack in work, and nothing left when the work is done"
    assert said.endswith("\r\x1b[K"), "and the line goes"


@pytest.mark.parametrize("where", ["file", "worker"])
def test_nothing_is_said_where_nobody_looks(monkeypatch, where):
    stream = io.StringIO() if where == "file" else Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    if where == "worker":
        monkeypatch.setenv("TQDM_DISABLE", "1")
    with doing("loading") as say:
        say("loading more")
    assert stream.getvalue() == ""


def test_the_line_goes_when_the_work_fails(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    def fail():
        with doing("loading a\nb"):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert terminal.getvalue() == "\r\x1b[Kloading a\\nb …\r\x1b[K"


def test_a_report_needs_no_torch(tmp_path):
    """As a process, whose modules are looked at after a report with figures."""
    import os
    import subprocess

    from tests.conftest import ROOT

    code = "import sys; from ibrobust.commands import report\nreport.main(['few'])\nprint('@', *sys.modules)"
    copy_few_results(tmp_path / "few")
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (tmp_path / "report" / "robustness.png").is_file()
    assert not {"torch", "torchvision", "sklearn"} & set(finished.stdout.partition("@")[2].split())
