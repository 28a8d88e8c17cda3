"""Shapes in signatures are checked, and one thread is used, whenever the tests run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from tests import shape_checks

shape_checks.install()

# How long an example takes depends on the machine.
settings.register_profile("any speed", settings(), deadline=None)
settings.load_profile("any speed")

torch.set_num_threads(1)
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def command(tmp_path_factory):
    """Run `python -m ibrobust.<words>` in a folder of its own; returns the finished process."""

    def finished(*words: str, cwd: Path | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"ibrobust.{words[0]}", *words[1:]],
            cwd=cwd or tmp_path_factory.mktemp("cwd"),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )

    return finished


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with one released run in `runs`, and nothing else."""
    from ibrobust.files import released_zoo
    from tests.refusals import RUN

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IBROBUST_DATA", raising=False)
    shutil.copytree(released_zoo() / "runs" / RUN, tmp_path / "runs" / RUN)
    return tmp_path
