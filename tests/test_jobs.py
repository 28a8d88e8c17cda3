"""The number of workers changes no byte, and a job that fails leaves the others alone."""

import os
import signal
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
        words = ("--runs", "runs1", "--eps", "0,0.1", "--samples", "10", "--out", f"out{count}", "--workers", count)
        evaluated = command("evaluate", *words, cwd=tmp_path)
        assert evaluated.returncode == 0, evaluated.stderr
        first, *_ = sorted((tmp_path / "runs1").iterdir())
        for name, more, judged in (("audit", (f"runs1/{first.name}", "--eps", "0,0.1"), 1), ("certify", (), 2)):
            words = ("--runs", "runs1", "--samples", "10", "--results", f"out{count}", "--workers", count)
            finished = command(name, *words, *more, cwd=tmp_path)
            assert finished.returncode == 0, finished.stderr
            assert finished.stdout.count("digits-mlp-l2-") == judged
    for name in ("runs", "out"):
        assert len(contents(tmp_path / f"{name}1")) > 4
        assert contents(tmp_path / f"{name}1") == contents(tmp_path / f"{name}2")
    assert len(pd.read_csv(tmp_path / "out2" / "timings.csv")) == 2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_that_diverges_does_not_keep_the_others_from_being_trained(command, tmp_path, workers):
    # Of all images the second step shows that the first went too far; of 100 there is one step, and none to show it.
    file = tmp_path / "recipe.toml"
    file.write_text("epochs = 1\nlatent = 8\nlearning_rate = [1e20, 1e-3]\ntrain_samples = [0, 100]\n")
    one, last, *_ = (recipe.run_id for recipe in recipes_in(file, {}))
    finished = command("train", "--recipe", "recipe.toml", "--workers", workers, cwd=tmp_path)
    assert finished.returncode == 1
    assert f"error: 2 of 4 failed: {one}: epoch 1, step 2: the likelihood term is " in finished.stderr
    assert f"; {last}: the latent or the logits of 100 of 100 images are not finite" in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert len(find_runs([tmp_path / "runs"])) == 2


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


def dies_once(place: Path) -> str:
    if not place.exists():
        place.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return place.name


def doubled_or_dead(number: int) -> int:
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def test_the_item_of_a_worker_that_is_killed_is_done_by_another(tmp_path):
    items = [tmp_path / "a", tmp_path / "b"]
    assert [answer for _, answer in answers(dies_once, items, Place(workers=2))] == ["a", "b"]


def test_an_item_that_kills_every_worker_is_given_up_and_the_others_are_done():
    done = []
    with pytest.raises(RunFailed, match=r"^1 of 3 failed: a worker process died, most likely for want of memory"):
        done.extend(answers(doubled_or_dead, [1, 0, 3], Place(workers=2)))
    assert done == [(1, 2), (3, 6)]


class LoadedOnce:
    """A job that remembers what it was given in the same process."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, item: int, tell) -> tuple[int, int]:
        self.seen.append(item)
        tell(f"item {item}")
        return os.getpid(), len(self.seen)


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
    work = Workload(_doubled, lambda: items.pop() if items else None)
    for outcome in outcomes(work, Place(workers=2)):
        done.append(outcome.answer)
        if outcome.answer < 8:
            items.append(outcome.answer)
    assert done == [2, 4, 8]


def _doubled(number: int, _tell) -> int:
    return 2 * number
