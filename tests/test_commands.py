"""The commands as a user types them, on real data."""

import re
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from ibrobust.__main__ import main
from ibrobust.attacks import ATTACKS
from ibrobust.commands.command_line import run
from ibrobust.files import released_zoo
from ibrobust.robustness.storage import load_results
from ibrobust.subjects.zoo import find_runs

RUN = "digits-mlp-l2-g0.001-s0-22d0aead"
FEW = ("--samples", "40", "--eps", "0:0.1:3")
COMMANDS = ["train", "evaluate", "report", "audit", "certify", "compare", "information", "histories"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_does_not_wait_for_torch(name):
    """In a process that is not forked: what it imports is the point."""
    code = (
        f"import runpy, sys; sys.argv[1:] = ['--help']\n"
        f"try: runpy.run_module('ibrobust.{name}', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end: print('@', end.code, *sys.modules)"
    )
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True).stdout
    usage, _, ended = text.rpartition("@")
    assert "usage: python -m ibrobust." in usage
    code, *modules = ended.split()
    assert code == "0"
    assert not set(modules) & {"torch", "pandas", "seaborn", "matplotlib"}


@pytest.fixture
def two_runs(tmp_path):
    """A folder with two released runs in `runs`."""
    for found in find_runs([released_zoo() / "runs"])[:2]:
        shutil.copytree(found.folder, tmp_path / "runs" / found.card.run)
    return tmp_path


def test_train_then_evaluate(command, tmp_path, whole_figures):
    trained = command("train", "--reg", "l2", "--epochs", "2", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert re.search(r"test accuracy 0\.\d+", trained.stdout)
    (run,) = find_runs([tmp_path / "runs"])
    assert {path.name for path in run.folder.iterdir()} == {"card.json", "history.csv", "weights.safetensors"}
    assert list(pd.read_csv(run.folder / "history.csv")["epoch"]) == [1, 2]
    evaluated = command("evaluate", "--eps", "0:0.1:3", "--samples", "20", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    written = {path.relative_to(tmp_path / "results").as_posix() for path in (tmp_path / "results").rglob("*.*")}
    assert written >= {"leaderboard.csv", "curves.csv", "robustness.png", "robustness.svg", "information.png"}
    assert f"paper/{run.card.run}.parquet" in written
    board = pd.read_csv(tmp_path / "results" / "leaderboard.csv")
    assert list(board["n"]) == [20]


def test_a_finished_run_is_not_trained_again(command, tmp_path):
    words = ("train", "--reg", "l2", "--epochs", "1", "--train-samples", "64")
    command(*words, cwd=tmp_path)
    (run,) = find_runs([tmp_path / "runs"])
    before = (run.folder / "card.json").stat().st_mtime_ns
    command(*words, cwd=tmp_path)
    assert (run.folder / "card.json").stat().st_mtime_ns == before


def test_without_runs_the_released_zoo_is_evaluated(command, tmp_path):
    finished = command("evaluate", "--eps", "0.05", "--samples", "5", "--attacks", "fgsm", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    board = pd.read_csv(tmp_path / "results" / "leaderboard.csv")
    assert set(board["run"]) == {run.card.run for run in find_runs([released_zoo() / "runs"])}


def test_the_same_bytes_whatever_the_batch_size_and_the_second_time(command, two_runs):
    for out, words in {"all": ["500"], "seven": ["7"], "thirty-two": ["32"], "again": ["500"]}.items():
        finished = command("evaluate", *FEW, "--batch-size", *words, "--out", out, cwd=two_runs)
        assert finished.returncode == 0, finished.stderr
    assert_same_results(two_runs / "all", two_runs / "seven", two_runs / "thirty-two", two_runs / "again")


def test_results_with_other_restarts_are_found_again(command, two_runs):
    def evaluated(*words):
        finished = command("evaluate", "--samples", "5", "--eps", "0.05", *words, cwd=two_runs)
        assert finished.returncode == 0, finished.stderr
        path = sorted((two_runs / "results" / "paper").glob("*.parquet"))[0]
        return path.stat().st_mtime_ns, load_results(path).card.attacks["pgd"]["restarts"]

    first, restarts = evaluated()
    assert restarts == 1
    second, restarts = evaluated("--restarts", "2")
    assert second > first
    assert restarts == 2
    assert evaluated("--restarts", "2") == (second, 2)


def test_the_same_bytes_from_halves(command, two_runs):
    command("evaluate", *FEW, "--out", "whole", cwd=two_runs)
    for half in ("0:15", "15:40"):
        finished = command("evaluate", "--eps", "0:0.1:3", "--samples", half, "--out", "halves", cwd=two_runs)
        assert finished.returncode == 0, finished.stderr
    finished = command("report", "halves", "--out", "joined", cwd=two_runs)
    assert finished.returncode == 0, finished.stderr
    for name in ("leaderboard.csv", "curves.csv", "robustness.png", "information.svg"):
        assert (two_runs / "joined" / name).read_bytes() == (two_runs / "whole" / name).read_bytes()


def test_a_killed_evaluation_goes_on_to_the_same_bytes(command, forked, two_runs):
    command("evaluate", *FEW, "--out", "whole", cwd=two_runs)
    killed = forked("ibrobust.evaluate", *FEW, "--out", "killed", cwd=two_runs)
    first = two_runs / "killed" / "paper"
    deadline = time.monotonic() + 60
    while not list(first.glob("*.parquet")) and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(list(first.glob("*.parquet"))) >= 1
    finished = command("evaluate", *FEW, "--out", "killed", cwd=two_runs)
    assert finished.returncode == 0, finished.stderr
    assert_same_results(two_runs / "whole", two_runs / "killed")


def assert_same_results(first, *others):
    for other in others:
        for name in ("leaderboard.csv", "curves.csv"):
            assert (first / name).read_bytes() == (other / name).read_bytes()
        paths = sorted((first / "paper").glob("*.parquet"))
        assert paths
        for path in paths:
            ours, theirs = load_results(path), load_results(other / "paper" / path.name)
            for column in ours.rows:
                assert ours.rows[column].to_numpy().tobytes() == theirs.rows[column].to_numpy().tobytes()
            assert ours.card == theirs.card


@pytest.fixture
def here(two_runs, monkeypatch, capsys):
    """Run `ibrobust <words>` in this process, in the folder of the two runs; as `command` otherwise."""
    monkeypatch.chdir(two_runs)

    def finished(*words: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["ibrobust", *words])
        with pytest.raises(SystemExit) as stop:
            run(main)
        return subprocess.CompletedProcess(words, stop.value.code or 0, *capsys.readouterr())

    return finished


@pytest.fixture
def few_steps(monkeypatch) -> None:
    """Every attack of many steps takes 10, and of many queries 100."""
    for attack in ATTACKS.values():
        for kind, most in (("steps", 10), ("queries", 100)):
            if attack.settings.get(kind, 0) > most:
                monkeypatch.setitem(attack.settings, kind, most)


def test_noise_is_scored_by_three_readings_beside_an_attack_that_does_nothing(
    here, few_draws, few_steps, two_runs, monkeypatch
):
    shutil.rmtree(two_runs / find_names(two_runs)[1])
    words = ("--noise", "fresh", "--protocol", "strict-rand", "--eps", "0,0.1", "--samples", "4")
    finished = here("evaluate", *words)
    assert finished.returncode == 0, finished.stderr
    assert "null-attack changes nothing" in finished.stdout
    results = two_runs / "results"
    table = pd.read_csv(results / "noise.csv")
    written = {path: path.stat().st_mtime_ns for path in results.rglob("*.parquet")}
    with monkeypatch.context() as patched:
        patched.setattr("ibrobust.commands.report._figures", lambda *_: [])
        here("evaluate", *words)
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*.parquet")} == written
    assert set(table["reading"]) == {"mean", "fresh", "averaged"}
    assert set(table["attack"]) == {"null-attack", "fgsm", "deepfool", "bim", "pgd", "apgd-ce", "apgd-dlr", "all"}
    assert (table.groupby(["run", "reading", "eps"]).size() == 8).all()
    assert ((table["low"] < table["robust"]) | (table["robust"] == 0)).all()
    null = table.query("attack == 'null-attack'").groupby(["run", "reading"])["robust"]
    assert (null.nunique() == 1).all(), "nothing happens to the image, whatever the radius"
    board = pd.read_csv(results / "leaderboard.csv").set_index("run")
    fresh = table.query("reading == 'fresh' and attack == 'all' and eps == 0.1").set_index("run")["robust"]
    assert (board["robust@0.1"] - fresh.reindex(board.index)).abs().max() < 1e-4
    with monkeypatch.context() as patched:
        patched.setattr("ibrobust.commands.report._figures", lambda *_: [])
        for out, samples in (("whole", "4"), ("halves", "0:1"), ("halves", "1:4")):
            quick = ("--noise", "fresh", "--attacks", "fgsm", "--eps", "0,0.1", "--samples", samples, "--out", out)
            here("evaluate", *quick)
        here("report", "halves", "--out", "joined")
    assert (two_runs / "joined" / "noise.csv").read_bytes() == (two_runs / "whole" / "noise.csv").read_bytes()
    audited = here(
        "audit", "--noise", "fresh", "--protocol", "strict-rand", "--eps", "0,0.1", "--samples", "4",
        *find_names(two_runs)[:1],
    )  # fmt: skip
    assert audited.returncode == 0, audited.stderr
    report = here("report", "results", "--protocol", "strict-rand")
    assert report.returncode == 0, report.stderr
    board = pd.read_csv(two_runs / "report" / "leaderboard.csv")
    assert set(board["verdict"]) - {"unaudited"}
    refused = here("report", "results", "--protocol", "strict")
    assert refused.returncode == 2
    assert "--protocol strict" in refused.stderr


def find_names(folder):
    return sorted(f"runs/{path.name}" for path in (folder / "runs").iterdir())
