"""Every command says what it has to say on a terminal that knows few characters, and files do not depend on it."""

import ast
import importlib
import io
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from ibrobust.__main__ import COMMANDS
from ibrobust.commands import command_line
from ibrobust.files import released_zoo
from tests.conftest import ROOT

RUN = "digits-mlp-l2-g0.001-s0-22d0aead"


def said(monkeypatch, encoding: str, *words: str) -> str:
    """What a command prints on a terminal of the encoding, run in this process."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    package = "ibrobust" if words[0] == "__main__" else "ibrobust.commands"
    main = importlib.import_module(f"{package}.{words[0]}").main
    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", ["ibrobust", *words[1:]])
        for name, stream in streams.items():
            patched.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as stop:
            command_line.run(main)
    for stream in streams.values():
        stream.flush()
    printed, errors = (stream.buffer.getvalue().decode(encoding) for stream in streams.values())
    assert not stop.value.code, errors
    return printed


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
@pytest.mark.parametrize("name", [*COMMANDS, "__main__"])
def test_every_command_explains_itself(monkeypatch, encoding, name):
    assert "usage: " in said(monkeypatch, encoding, name, "--help")


def test_symbols_are_spelled(monkeypatch):
    assert "sigma" in said(monkeypatch, "ascii", "train", "--help")
    assert "σ" in said(monkeypatch, "utf-8", "train", "--help")


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """A folder with one released run and its results."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(released_zoo() / "runs" / RUN, tmp_path / "runs" / RUN)
    (tmp_path / "results" / "paper").mkdir(parents=True)
    shutil.copy(released_zoo() / "results" / "paper" / f"{RUN}.parquet", tmp_path / "results" / "paper")
    return tmp_path


def test_commands_that_work_end_well_on_an_ascii_terminal(evaluated, monkeypatch):
    printed = said(monkeypatch, "ascii", "audit", "--samples", "4")
    assert "at eps = " in printed
    assert "<=" in printed
    printed = said(monkeypatch, "ascii", "evaluate", "--samples", "5", "--eps", "0,0.1", "--out", "few")
    assert "+/-" in printed
    printed = said(monkeypatch, "cp1252", "report")
    assert "±" in printed
    results = f"results/paper/{RUN}.parquet"
    printed = said(monkeypatch, "ascii", "compare", results, results)
    assert "+0.0000" in printed, "formats are found under the columns' new names"
    audit = pd.read_csv("results/audit.csv", encoding="utf-8")
    assert audit["sentence"].str.contains("ε").any(), "files say it in full whatever the terminal"


@pytest.mark.parametrize("settings", [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_in_a_process_of_its_own(settings):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", **settings}
    words = [sys.executable, "-m", "ibrobust.train", "--help"]
    finished = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert b"sigma" in finished.stdout


def test_a_table_keeps_its_rows_whatever_its_names_hold():
    text = command_line.table_text(pd.DataFrame({"run": ["a\nb", "c\x1b[2J"], "n": [1, 2]}))
    assert [line.split() for line in text.splitlines()] == [["run", "n"], ["a\\nb", "1"], ["c\\x1b[2J", "2"]]


SOURCES = sorted([*(ROOT / "ibrobust").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])


def unsaid_encodings(source: str) -> list[int]:
    """Lines that open text without saying its encoding; what is opened in a binary mode has none."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        said = {keyword.arg: keyword.value for keyword in call.keywords}
        modes = [word.value for word in (*call.args, *said.values()) if isinstance(word, ast.Constant)]
        binary = any(isinstance(mode, str) and "b" in mode and len(mode) <= 3 for mode in modes)
        of_another = isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in ("os", "Image", "archive")
        text = name in ("read_text", "write_text", "to_csv") or (name == "open" and not binary and not of_another)
        text |= name in ("run", "Popen") and "text" in said
        if text and "encoding" not in said:
            found.append(call.lineno)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_text_is_opened_with_its_encoding(path):
    assert not unsaid_encodings(path.read_text(encoding="utf-8"))


def test_the_test_of_encodings_sees_what_it_looks_for():
    assert unsaid_encodings("open('a')\nPath('a').read_text()\np.write_text('')\nt.to_csv(p)\np.open('w')") == [
        1, 2, 3, 4, 5,
    ]  # fmt: skip
    assert not unsaid_encodings("open('a', 'rb')\np.open('r+b')\nImage.open(p)\nos.open(p, 1)\np.read_bytes()")
