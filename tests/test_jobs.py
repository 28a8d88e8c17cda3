"""The number of workers changes no byte, and a job that fails leaves the others alone."""

import sys
from argparse import Namespace
from pathlib import Path

import pandas as pd
import pytest

from ibrobust.commands.command_line import Parser
from ibrobust.commands.job_flags import add_job_flags
from ibrobust.errors import BadInput, RunFailed
from ibrobust.experiments.jobs import ENGINES, answers
from ibrobust.subjects.zoo import find_runs

RECIPE = """
data = "digits"
epochs = 1
reg = "l2"
gamma = [1e-3, 1e-2]
"""


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "timings.csv"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_same_bytes_with_one_worker_and_with_two(command, tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    for count in ("1", "2"):
        trained = command(
            "train", "--recipe", "recipe.toml", "--runs", f"runs{count}", "--workers", count, cwd=tmp_path
        )
        assert trained.returncode == 0, trained.stderr
        assert trained.stdout.count("test accuracy") == 2
        words = ("--runs", "runs1", "--samples", "40", "--out", f"out{count}", "--workers", count)
        evaluated = command("evaluate", *words, cwd=tmp_path)
        assert evaluated.returncode == 0, evaluated.stderr
        for name in ("audit", "certify"):
            words = ("--runs", "runs1", "--samples", "10", "--results", f"out{count}", "--workers", count)
            judged = command(name, *words, cwd=tmp_path)
            assert judged.returncode == 0, judged.stderr
            assert judged.stdout.count("digits-mlp-l2-") == 2
    for name in ("runs", "out"):
        assert len(contents(tmp_path / f"{name}1")) > 4
        assert contents(tmp_path / f"{name}1") == contents(tmp_path / f"{name}2")
    assert len(pd.read_csv(tmp_path / "out2" / "timings.csv")) == 2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_that_diverges_does_not_keep_the_others_from_being_trained(command, tmp_path, workers):
    (tmp_path / "recipe.toml").write_text(RECIPE + "learning_rate = [1e20, 1e-3]\n")
    finished = command("train", "--recipe", "recipe.toml", "--workers", workers, cwd=tmp_path)
    assert finished.returncode == 1
    assert "error: 2 of 4 failed: " in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert len(find_runs([tmp_path / "runs"])) == 2


def settings(**changes) -> Namespace:
    parser = Parser("test", "")
    add_job_flags(parser)
    return Namespace(**vars(parser.parse_args([])) | changes)


def reciprocal(number: int) -> float:
    if number == 0:
        raise RunFailed("nothing to divide by")
    if number < 0:
        raise BadInput("positive numbers")
    return 1 / number


@pytest.mark.parametrize("workers", [1, 2])
def test_answers_come_in_order_and_a_failure_last(workers):
    done = []
    with pytest.raises(RunFailed, match=r"^1 of 3 failed: nothing to divide by$"):
        done.extend(answers(reciprocal, [4, 0, 2], settings(workers=workers)))
    assert done == [(4, 0.25), (2, 0.5)]


@pytest.mark.parametrize("workers", [1, 2])
def test_refused_input_ends_it_at_once(workers):
    with pytest.raises(BadInput, match="positive numbers"):
        list(answers(reciprocal, [-1, 1], settings(workers=workers)))


def test_help_lists_the_engines(capsys):
    parser = Parser("test", "")
    add_job_flags(parser)
    assert ", ".join(sorted(ENGINES)) in " ".join(parser.format_help().split())


def test_unknown_or_missing_engines_are_named(monkeypatch):
    with pytest.raises(BadInput, match="no engine 'slurm'; choose from local, ray"):
        list(answers(reciprocal, [1], settings(engine="slurm")))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r"engine 'ray' is not installed .* pip install 'ibrobust\[ray\]'"):
        list(answers(reciprocal, [1], settings(engine="ray")))


@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_same_answers():
    pytest.importorskip("ray")
    assert list(answers(reciprocal, [4, 2], settings(engine="ray", workers=2))) == [(4, 0.25), (2, 0.5)]
