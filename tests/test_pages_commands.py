"""The commands that the pages of results name are there, take these flags, and name files that are there."""

import re
import shlex
from argparse import ArgumentError
from importlib import import_module
from importlib.util import find_spec

import pytest

from ibrobust.__main__ import COMMANDS
from tests.conftest import ROOT

PAGES = ["docs/known.md", "docs/ledger.md", "docs/findings.md", "docs/table.md", "docs/audit.md"]
MADE_BY_A_COMMAND = ("runs", "results")


def commands(page: str) -> list[list[str]]:
    """The words of what a page names as a command: `python -m …`, or one of ours with arguments."""
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    found = [shlex.split(code) for code in re.findall(r"`([^`]+)`", text)]
    return [words for words in found if words[:2] == ["python", "-m"] or (words[0] in COMMANDS and len(words) > 1)]


def faults(words: list[str]) -> list[str]:
    """What is wrong with a command; … stands for whatever a reader puts there."""
    module, *rest = words[2:] if words[0] == "python" else [f"ibrobust.{words[0]}", *words[1:]]
    if find_spec(module) is None:
        return [f"no module {module}"]
    command = module.removeprefix("ibrobust.")
    if command in COMMANDS and "…" not in words:
        parser = import_module(f"ibrobust.commands.{command}")._parser()
        parser.exit_on_error = False
        try:
            _, unknown = parser.parse_known_args(rest)
        except ArgumentError as refused:
            return [str(refused)]
        return [f"no argument {word}" for word in unknown] + missing_files(rest)
    flags = [word for word in rest if word.startswith("-")]
    if module == "pytest" or "…" in words:
        return missing_files(rest)
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    return [f"no flag {flag}" for flag in flags if f'"{flag}"' not in source] + missing_files(rest)


def missing_files(words: list[str]) -> list[str]:
    paths = [word for word in words if "/" in word and not word.startswith(("-", *MADE_BY_A_COMMAND))]
    return [f"no {path}" for path in paths if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_one_that_exists(page):
    named = commands(page)
    assert len(named) >= 2
    assert {" ".join(words): found for words in named if (found := faults(words))} == {}


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("python -m benchmarks.claims zoo/results", "no module benchmarks.claims"),
        ("python -m ibrobust.claims zoo/results --seeds=3", "no argument --seeds=3"),
        ("audit runs --samples few", "argument --samples: "),
        ("train --recipe zoo/recipes/figure-7.toml", "no zoo/recipes/figure-7.toml"),
        ("python -m benchmarks.explain table zoo/results/why.csv --seed 0", "no flag --seed"),
        ("python -m pytest tests/test_knowledge.py", "no tests/test_knowledge.py"),
    ],
)
def test_what_is_not_there_is_found(command, fault):
    (found,) = faults(shlex.split(command))
    assert found.startswith(fault)
