"""Plugins: loaded once, everywhere alike, and refused in one line where they cannot be."""

import hashlib
import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ibrobust import plugins
from ibrobust.errors import BadInput
from ibrobust.plugins import digests_of, load_plugins, load_the_same, loaded_plugins
from ibrobust.registry import EXTENSION_POINTS
from tests.test_commands import COMMANDS

REGULARISER = """
from ibrobust.learning.objectives import REGULARIZERS, Regularizer

REGULARIZERS["mine"] = Regularizer(lambda encoding, y, model: encoding.z.abs().sum(1).mean())
"""


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch):
    """What a test loads is gone after it."""
    monkeypatch.setattr(plugins, "_LOADED", {})
    before = {kind: set(registry) for kind, registry in EXTENSION_POINTS.items()}
    yield
    for kind, registry in EXTENSION_POINTS.items():
        for name in set(registry) - before[kind]:
            del registry[name]
    for module in [name for name in sys.modules if name.startswith("ibrobust_plugin_")]:
        del sys.modules[module]


def written(folder: Path, content: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text(content)
    return file


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_plugins(command, name, tmp_path):
    missing = command(name, "--plugin", "nowhere.py", cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr == "error: --plugin 'nowhere.py': there is no file '" + str(tmp_path / "nowhere.py") + "'\n"
    without = command(name, "--plugin", cwd=tmp_path)
    assert without.returncode == 2
    assert "--plugin: expected one argument" in without.stderr


def test_what_a_plugin_registers_is_in_help_messages_recipes_workers_and_cards(command, tmp_path):
    file = written(tmp_path, REGULARISER)
    shown = command("train", "--help", "--plugin", "mine.py", cwd=tmp_path)
    assert "l2, log-l2, logvar, mine, none" in " ".join(shown.stdout.split())
    refused = command("train", "--reg", "yours", "--plugin", "mine.py", cwd=tmp_path)
    assert refused.returncode == 2
    assert (
        "no regulariser 'yours'; choose from ceb, cond-logvar, dvib, l2, log-l2, logvar, mine, none" in refused.stderr
    )
    (tmp_path / "recipe.toml").write_text('reg = ["mine", "l2"]\nepochs = 1\ntrain_samples = 64\n')
    trained = command(
        "train", "--recipe", "recipe.toml", "--plugin", "mine.py", "--workers", "2", cwd=tmp_path
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    cards = {
        card["recipe"]["reg"]: card for card in map(json.loads, (p.read_text() for p in tmp_path.rglob("card.json")))
    }
    assert cards["mine"]["plugins"] == {"mine.py": digest(file)}
    assert "plugins" not in cards["l2"]


def test_a_run_is_not_mistaken_for_that_of_another_version_of_its_plugin(command, tmp_path):
    file = written(tmp_path, REGULARISER)
    words = ("train", "--reg", "mine", "--epochs", "1", "--train-samples", "64", "--plugin", str(file))
    for _ in range(2):
        finished = command(*words, cwd=tmp_path)
        assert finished.returncode == 0, finished.stderr
    without = command("histories", "runs", cwd=tmp_path)
    assert without.returncode == 2
    assert "no regulariser 'mine'" in without.stderr
    assert without.stderr.endswith("; the run was trained with mine.py: load it first (--plugin)\n")
    assert command("histories", "runs", "--plugin", "mine.py", cwd=tmp_path).returncode == 0
    file.write_text(REGULARISER.replace("abs()", "square()"))
    changed = command(*words, cwd=tmp_path)
    assert changed.returncode == 2
    assert changed.stderr.endswith("was trained with another mine.py; --again trains it anew\n")
    assert command(*words, "--again", cwd=tmp_path).returncode == 0
    assert command(*words, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def broken(:", "the file raised SyntaxError"),
        ("raise OSError('no weights\\nhere')", "the file raised OSError: no weights$"),
        ("import sys; sys.exit(3)", "the file raised SystemExit: 3"),
        ("import no_such_module_of_mine", "the file raised ModuleNotFoundError: No module named"),
        ("x = 1", "registers nothing; it may add to data set, data format, model, regulariser, "),
        (REGULARISER.replace('"mine"', '"l2"'), "regulariser 'l2' is registered already, by ibrobust; choose another"),
        (REGULARISER + REGULARISER, "regulariser 'mine' is registered already; choose another name"),
        (REGULARISER.replace('"mine"', '"my own"'), "regulariser 'my own': a name is letters and digits"),
        (
            REGULARISER.replace("Regularizer(lambda", "(lambda"),
            "regulariser 'mine': the entry is of type function; it ",
        ),
        (REGULARISER + "1 / 0", "the file raised ZeroDivisionError: division by zero"),
        ("\0", "the file raised "),
    ],
)
def test_what_cannot_be_loaded_is_one_line_and_leaves_nothing(tmp_path, content, message):
    file = written(tmp_path, content)
    before = {kind: set(registry) for kind, registry in EXTENSION_POINTS.items()}
    with pytest.raises(BadInput, match=message) as refusal:
        load_plugins([file])
    assert "\n" not in str(refusal.value)
    assert "plugin 'mine.py'" in str(refusal.value)
    assert {kind: set(registry) for kind, registry in EXTENSION_POINTS.items()} == before
    assert not loaded_plugins()
    written(tmp_path, REGULARISER)
    load_plugins([file])
    assert "mine" in EXTENSION_POINTS["regulariser"]


@pytest.mark.parametrize(("name", "content"), [("mine.txt", REGULARISER), ("mine", REGULARISER), ("folder.py", None)])
def test_what_is_no_python_file_is_refused(tmp_path, name, content):
    file = tmp_path / name
    if content is None:
        file.mkdir()
    else:
        file.write_text(content)
    with pytest.raises(BadInput, match=r"is not a Python file|there is no file"):
        load_plugins([file])


def test_a_plugin_is_loaded_once_and_may_import_what_lies_beside_it(tmp_path):
    helper = written(tmp_path, "POWER = 1\n", "power_of_mine.py")
    file = written(tmp_path, "from power_of_mine import POWER\n" + REGULARISER)
    load_plugins([file, file, tmp_path / "." / "mine.py"])
    assert [plugin.name for plugin in loaded_plugins()] == ["mine.py"]
    used = [("regulariser", "mine"), ("regulariser", "l2"), ("data set", "digits"), ("data set", "no name: a file.npz")]
    assert digests_of(used) == {"mine.py": digest(file), "mine.py/power_of_mine.py": digest(helper)}
    assert digests_of(used[1:]) == {}
    del sys.modules["power_of_mine"]


def test_two_plugins_of_one_name_or_one_that_changed_are_refused(tmp_path):
    file = written(tmp_path, REGULARISER)
    load_plugins([file])
    (tmp_path / "other").mkdir()
    with pytest.raises(BadInput, match=r"another plugin is called mine\.py already; rename one of them"):
        load_plugins([written(tmp_path / "other", REGULARISER.replace('"mine"', '"other"'))])
    with pytest.raises(BadInput, match=r"regulariser 'mine' is registered already, by mine\.py; choose another name"):
        load_plugins([written(tmp_path, REGULARISER, "second.py")])
    sent = loaded_plugins()
    load_the_same(sent)
    file.write_text(REGULARISER + "# changed\n")
    with pytest.raises(BadInput, match="has changed since it was loaded; start again"):
        load_plugins([file])


def test_a_worker_refuses_a_plugin_that_is_not_the_one_it_was_sent(tmp_path, monkeypatch):
    file = written(tmp_path, REGULARISER)
    load_plugins([file])
    sent = loaded_plugins()
    del EXTENSION_POINTS["regulariser"]["mine"]
    monkeypatch.setattr(plugins, "_LOADED", {})
    file.write_text(REGULARISER + "# changed\n")
    with pytest.raises(BadInput, match=r"plugin mine\.py is not the same in every process"):
        load_the_same(sent)


def test_installed_packages_register_through_their_entry_point(tmp_path, monkeypatch):
    written(tmp_path, REGULARISER, "installed_of_mine.py")
    written(tmp_path, "def register():\n    raise ValueError('no licence')\n", "broken_of_mine.py")
    monkeypatch.syspath_prepend(tmp_path)
    found = [EntryPoint("mine", "installed_of_mine", "ibrobust.plugins")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found if group == "ibrobust.plugins" else [])
    load_plugins()
    load_plugins()
    assert digests_of([("regulariser", "mine")]) == {"mine": digest(tmp_path / "installed_of_mine.py")}
    found.append(EntryPoint("broken", "broken_of_mine:register", "ibrobust.plugins"))
    with pytest.raises(
        BadInput, match=r"^installed plugin 'broken' \(broken_of_mine:register\): ValueError: no licence$"
    ):
        load_plugins()
    for module in ("installed_of_mine", "broken_of_mine"):
        del sys.modules[module]


@pytest.mark.filterwarnings("ignore")
def test_tasks_of_a_cluster_load_the_plugins_too(command, tmp_path):
    pytest.importorskip("ray")
    written(tmp_path, REGULARISER)
    words = ("--reg", "mine", "--epochs", "1", "--train-samples", "64", "--plugin", "mine.py", "--engine", "ray")
    trained = command("train", *words, cwd=tmp_path, timeout=300)
    assert trained.returncode == 0, trained.stderr
    assert len(list(tmp_path.glob("runs/*/card.json"))) == 1
