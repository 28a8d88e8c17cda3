"""Shapes in signatures are checked, and one thread is used, whenever the tests run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from tests import forking, quick_figures, shape_checks
from tests.forking import Forked, ForkServer

shape_checks.install()
quick_figures.install()

# How long an example takes depends on the machine.
settings.register_profile("any speed", settings(), deadline=None)
settings.load_profile("any speed")

torch.set_num_threads(1)
ROOT = forking.ROOT


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    shape_checks.begin_test()


@pytest.fixture(scope="session")
def forked(tmp_path_factory):
    """Start `python -m <words>` in a folder of its own, with everything imported already; returns a `Forked`."""
    servers: list[ForkServer] = []

    def started(*words: str, cwd: Path | None = None) -> Forked:
        if not servers:
            servers.append(ForkServer())
        into = tmp_path_factory.mktemp("said") / "it"
        return Forked(servers[0], words, cwd or tmp_path_factory.mktemp("cwd"), into, dict(os.environ))

    yield started
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def command(forked):
    """Run `python -m ibrobust.<words>` as a forked process in a folder of its own; returns the finished process."""

    def finished(*words: str, cwd: Path | None = None, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        process = forked(f"ibrobust.{words[0]}", *words[1:], cwd=cwd)
        code = process.wait(timeout)
        return subprocess.CompletedProcess(words, code, *process.said())

    return finished


@pytest.fixture(scope="session")
def released_results():
    """Everything that `zoo/results` holds."""
    from ibrobust.commands.stored_results import stored_results
    from ibrobust.files import released_zoo

    return stored_results([released_zoo() / "results"])


@pytest.fixture(scope="session")
def _released_board(released_results):
    from ibrobust.robustness.leaderboard import leaderboard

    return leaderboard(released_results)


@pytest.fixture
def released_board(_released_board):
    """The leaderboard of everything that `zoo/results` holds, a copy for each test."""
    return _released_board.copy()


@pytest.fixture
def whole_figures(monkeypatch) -> None:
    """Figures are saved as users have them, here and in forked commands."""
    monkeypatch.setenv(quick_figures.WHOLE, "1")


@pytest.fixture
def few_draws(monkeypatch) -> None:
    """Attacks on noise average over 4 draws of it instead of 16."""
    for module in ("models.bottleneck", "robustness.noisy_readings"):
        monkeypatch.setattr(f"ibrobust.{module}.EOT_DRAWS", 4)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with one released run in `runs`, and nothing else."""
    from ibrobust.files import released_zoo
    from tests.refusals import RUN

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IBROBUST_DATA", raising=False)
    shutil.copytree(released_zoo() / "runs" / RUN, tmp_path / "runs" / RUN)
    return tmp_path
