"""The number of workers changes no byte, and a job that fails leaves the others alone."""

import os
import sys
from pathlib import Path

import pandas as pd
import pytest

from ibrobust.commands.command_line import Parser
from ibrobust.commands.job_flags import add_job_flags
from ibrobust.errors import BadInput, RunFailed
from ibrobust.experiments.jobs import ENGINES, Place, Workload, answers, outcomes
from ibrobust.recipe import recipes_in
from ibrobust.subjects.zoo import find_runs
from tests.forking import FORKED_WORKERS
from tests.light_jobs import LoadedOnce, dies_once, doubled, doubled_or_dead, reciprocal

# Of all images the second step shows that the first went too far; of 100 there is one step, and none to show it.
RECIPE = "epochs = 1\nlatent = 8\nlearning_rate = [1e20, 1e-3]\ntrain_samples = [0, 100]\n"


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "timings.csv"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def trained(command, tmp_path_factory):
    """A folder with `runs1` and `runs2`, which one worker and two have left; and how their commands ended."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "recipe.toml").write_text(RECIPE)
    words = ("train", "--recipe", "recipe.toml")
    ended = [command(*words, "--runs", f"runs{count}", "--workers", count, cwd=folder) for count in ("1", "2")]
    return folder, ended


def test_the_same_bytes_with_one_worker_and_with_two(command, trained, monkeypatch):
    """Runs are trained by spawned workers, which import torch for seconds; what is done with them by forked ones."""
    folder, ended = trained
    monkeypatch.setenv(FORKED_WORKERS, "1")
    for count, finished in zip(("1", "2"), ended, strict=True):
        assert finished.stdout.count("test accuracy") == 2, finished.stderr
        words = ("--runs", "runs1", "--eps", "0,0.1", "--samples", "4", "--out", f"out{count}", "--workers", count)
        evaluated = command("evaluate", *words, cwd=folder)
        assert evaluated.returncode == 0, evaluated.stderr
        first, *_ = find_runs([folder / "runs1"])
        for name, more, judged in (("audit", (f"runs1/{first.card.run}", "--eps", "0,0.1"), 1), ("certify", (), 2)):
            words = ("--runs", "runs1", "--samples", "4", "--results", f"out{count}", "--workers", count)
            judging = command(name, *words, *more, cwd=folder)
            assert judging.returncode == 0, judging.stderr
            assert judging.stdout.count("digits-mlp-none-") == judged
    for name in ("runs", "out"):
        assert len(contents(folder / f"{name}1")) > 4
        assert contents(folder / f"{name}1") == contents(folder / f"{name}2")
    assert len(pd.read_csv(folder / "out2" / "timings.csv")) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_diverges_does_not_keep_the_others_from_being_trained(trained, workers):
    folder, ended = trained
    one, last, *_ = (recipe.run_id for recipe in recipes_in(folder / "recipe.toml", {}))
    finished = ended[workers - 1]
    assert finished.returncode == 1
    assert f"error: 2 of 4 failed: {one}: epoch 1, step 2: the likelihood term is " in finished.stderr
    assert f"; {last}: the latent or the logits of 100 of 100 images are not finite" in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert len(find_runs([folder / f"runs{workers}"])) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_answers_come_in_order_and_a_failure_last(workers):
    done = []
    with pytest.raises(RunFailed, match=r"^1 of 3 failed: nothing to divide by$"):
        done.extend(answers(reciprocal, [4, 0, 2], Place(workers=workers)))
    assert done == [(4, 0.25), (2, 0.5)]


@pytest.mark.parametrize("workers", [1, 2])
def test_refused_input_ends_it_at_once(workers):
    with pytest.raises(BadInput, match="positive numbers"):
        list(answers(reciprocal, [-1, 1], Place(workers=workers)))


def test_help_lists_the_engines(capsys):
    parser = Parser("test", "")
    add_job_flags(parser)
    assert ", ".join(sorted(ENGINES)) in " ".join(parser.format_help().split())


def test_unknown_or_missing_engines_are_named(monkeypatch):
    with pytest.raises(BadInput, match="no engine 'slurm'; choose from local, ray"):
        list(answers(reciprocal, [1], Place(engine="slurm")))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r"engine 'ray' is not installed .* pip install 'ibrobust\[ray\]'"):
        list(answers(reciprocal, [1], Place(engine="ray")))


def test_the_item_of_a_worker_that_is_killed_is_done_by_another(tmp_path):
    items = [tmp_path / "a", tmp_path / "b"]
    assert [answer for _, answer in answers(dies_once, items, Place(workers=2))] == ["a", "b"]


def test_an_item_that_kills_every_worker_is_given_up_and_the_others_are_done():
    done = []
    with pytest.raises(RunFailed, match=r"^1 of 3 failed: a worker process died, most likely for want of memory"):
        done.extend(answers(doubled_or_dead, [1, 0, 3], Place(workers=2)))
    assert done == [(1, 2), (3, 6)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_is_sent_to_each_worker_once_and_what_it_tells_is_heard(workers):
    items, heard = iter(range(6)), []
    work = Workload(LoadedOnce(), lambda: next(items, None), told=lambda item, said: heard.append((item, said)))
    found = [outcome.answer for outcome in outcomes(work, Place(workers=workers))]
    assert sorted(heard) == [(item, f"item {item}") for item in range(6)]
    assert len(found) == 6
    for process in {process for process, _ in found}:
        counts = [count for one, count in found if one == process]
        assert counts == list(range(1, len(counts) + 1))
    assert (os.getpid() in {process for process, _ in found}) == (workers == 1)


def test_items_may_come_to_be_while_others_are_done():
    items, done = [1], []
    work = Workload(doubled, lambda: items.pop() if items else None)
    for outcome in outcomes(work, Place(workers=2)):
        done.append(outcome.answer)
        if outcome.answer < 8:
            items.append(outcome.answer)
    assert done == [2, 4, 8]
