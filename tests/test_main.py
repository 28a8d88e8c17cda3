"""`ibrobust` and `python -m ibrobust`: every command by its name."""

import subprocess
import sys
import tomllib

import pytest

import ibrobust
from ibrobust.__main__ import COMMANDS, main
from ibrobust.errors import BadInput
from ibrobust.files import in_zoo, released_zoo
from tests.conftest import ROOT


def test_every_command_is_there():
    own = {path.stem for path in (ROOT / "ibrobust").glob("*.py") if "import main" in path.read_text(encoding="utf-8")}
    packages = {name for name in COMMANDS if (ROOT / "ibrobust" / name).is_dir()}
    assert set(COMMANDS) == own | packages


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_the_commands_are_listed_with_what_they_do(capsys, words):
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in COMMANDS:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert len(line.removeprefix(f"  {name}").strip()) > 20


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ibrobust {ibrobust.__version__}\n"


def test_a_command_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match="no command 'attack'; choose from train, evaluate"):
        main(["attack"])


def test_the_rest_of_the_words_are_the_commands(tmp_path):
    """As a process, whose modules are looked at when it ends: help does not wait for torch."""
    code = (
        "import sys, runpy\nsys.argv = ['ibrobust', *sys.argv[1:]]\n"
        "try: runpy.run_module('ibrobust', run_name='__main__')\nexcept SystemExit as stop: print('@', stop.code)\n"
        "print('@', *sys.modules)"
    )
    for words, code_, word in ((["train", "--help"], "0", "--recipe"), (["--help"], "0", "histories")):
        finished = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, encoding="utf-8", check=True, cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        )  # fmt: skip
        printed, exit_code, modules = finished.stdout.split("@")
        assert word in printed
        assert exit_code.strip() == code_
        assert not {"torch", "pandas", "numpy", "matplotlib"} & set(modules.split())


def test_the_script_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, function = project["scripts"]["ibrobust"].split(":")
    assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_zoo_stands_for_the_released_files_where_there_is_no_such_folder(tmp_path, monkeypatch, command):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    assert in_zoo(Path("zoo/recipes/mnist.toml")) == released_zoo() / "recipes" / "mnist.toml"
    assert in_zoo(Path("zoological")) == Path("zoological")
    assert in_zoo(Path("zoo/results")) == released_zoo() / "results"
    finished = command("report", "zoo", "--protocol", "strict-rand", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "digits-mlp-l2-g1-s0-67ea98d3" in finished.stdout
    (tmp_path / "zoo" / "results").mkdir(parents=True)
    assert in_zoo(Path("zoo/results")) == Path("zoo/results")
