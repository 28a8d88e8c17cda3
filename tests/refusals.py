"""What every refusal looks like: one line that names what is wrong, exit code 2, nothing half-written."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest

from ibrobust.commands import command_line
from ibrobust.files import released_zoo

RUN = "digits-mlp-l2-g0.001-s0-22d0aead"
"""A released run."""


def copy_few_results(folder: Path) -> None:
    """The released results under strict-rand, which a report reads in less time than all of them."""
    source = released_zoo() / "results" / "strict-rand"
    shutil.copytree(source, folder / "strict-rand", ignore=shutil.ignore_patterns("*-none-*"))


def exit_of(capsys, monkeypatch, *words: str) -> tuple[int, str]:
    """(exit code, stderr) of a command, run in this process."""
    module = importlib.import_module(f"ibrobust.{words[0]}")
    monkeypatch.setattr(sys, "argv", [words[0], *words[1:]])
    with pytest.raises(SystemExit) as stop:
        command_line.run(module.main)
    return stop.value.code, capsys.readouterr().err


def refused(folder: Path, capsys, monkeypatch, words: list[str], named: list[str]) -> None:
    before = sorted(str(path) for path in folder.rglob("*"))
    code, err = exit_of(capsys, monkeypatch, *words)
    assert code == 2, err
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    for name in named:
        assert name in err
    left_behind = {str(path) for path in folder.rglob("*")} - set(before)
    assert not left_behind
