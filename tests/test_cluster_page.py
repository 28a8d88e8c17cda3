"""What docs/cluster.md says of Slurm, without Slurm: tasks of an array, and one report that is that of the whole."""

import os
import subprocess
from importlib import import_module
from pathlib import Path

import pandas as pd

from tests.conftest import ROOT
from tests.refusals import RUN
from tests.test_documents import blocks

EVALUATE, REPORT = blocks((ROOT / "docs" / "cluster.md").read_text(encoding="utf-8"), "sh")


def words_of(script: str, folder: Path, **variables: str) -> list[str]:
    """What a script calls Python with; the shell that runs it finds one that only writes that down."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "python").write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n', encoding="utf-8")
    (tools / "python").chmod(0o755)
    environment = {**os.environ, **variables, "PATH": f"{tools}:{os.environ['PATH']}"}
    finished = subprocess.run(
        ["sh", "-e"], input=script, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return finished.stdout.splitlines()


def called(words: list[str]) -> None:
    assert words[0] == "-m"
    import_module(words[1].replace("ibrobust.", "ibrobust.commands.")).main(words[2:])


def test_an_array_and_one_report_are_one_evaluation(folder):
    small = EVALUATE.replace("zoo/mnist --protocol strict", f"runs/{RUN} --eps 0:0.1:3").replace("size=1000", "size=25")
    assert small != EVALUATE
    for task in ("0", "1"):
        words = words_of(small, folder, SLURM_ARRAY_TASK_ID=task)
        assert words[words.index("--samples") + 1] == f"{25 * int(task)}:{25 * int(task) + 25}"
        assert words[words.index("--workers") + 1] == "1"
        called(words)
    assert "8" in words_of(small, folder, SLURM_ARRAY_TASK_ID="0", SLURM_CPUS_PER_TASK="8")
    called(words_of(REPORT, folder))
    called(["-m", "ibrobust.evaluate", f"runs/{RUN}", "--eps", "0:0.1:3", "--samples", "50", "--out", "whole"])
    for name in ("leaderboard.csv", "curves.csv"):
        assert (folder / "report" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert pd.read_csv(folder / "report" / "leaderboard.csv")["n"].tolist() == [50]
