"""How far an evaluation is: the attack in work is named, every query counts, and nothing is left at the end."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from ibrobust.attacks import ATTACKS
from ibrobust.experiments.evaluation import evaluate_subject
from ibrobust.experiments.subject import run_subject
from ibrobust.files import released_zoo
from ibrobust.robustness import work
from ibrobust.robustness.breaking_radii import radii_that_break
from ibrobust.robustness.noisy_readings import readings_under_noise
from ibrobust.robustness.protocols import PROTOCOLS
from ibrobust.robustness.question import Execution, chosen_attacks, make_question
from ibrobust.robustness.samples import usable_samples
from ibrobust.robustness.settings import make_settings
from ibrobust.subjects.zoo import load_run
from tests.refusals import RUN


@pytest.fixture(scope="module", autouse=True)
def _short_square():
    """Square with a tenth of its queries."""
    short = replace(ATTACKS["square"], settings=ATTACKS["square"].settings | {"queries": 500})
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(ATTACKS._entries, "square", short)
        yield


@cache
def told(protocol: str, samples: int, **settings):
    """What is told while a released run is attacked, and its result."""
    subject = run_subject(load_run(released_zoo() / "runs" / RUN), data_dir=None, download=False)
    asked = make_settings({"protocol": protocol, **settings})
    said: list[tuple[str, int, float]] = []
    walks = 1 if asked.view == "mean" else sum(radius > 0 for radius in asked.radii)
    account = work.expected_work(chosen_attacks(asked), samples, walks=walks, tell=lambda *words: said.append(words))
    split = subject.test[:samples]
    ours = make_question(subject.model(), usable_samples(split.x, split.y, None), asked, Execution(work=account))
    answer = radii_that_break(ours) if asked.view == "mean" else readings_under_noise(ours)
    return said, answer


@pytest.mark.parametrize(("protocol", "samples"), [("paper", 40), ("strict", 6)])
def test_the_attack_in_work_is_named_and_the_account_ends_at_nothing(protocol, samples):
    said, answer = told(protocol, samples, eps="0.1")
    assert list(dict.fromkeys(attack for attack, _, _ in said)) == [work.CLEAN, *PROTOCOLS[protocol].attacks]
    done = [queries for _, queries, _ in said]
    assert done == sorted(done)
    assert said[-1][2] == 0
    asked = sum(count.forward + 3 * count.gradient for count in answer.card.queries.values())
    if samples >= 16:  # Fewer are filled up, and the model computes the filling too.
        # DeepFool's gradients of several outputs share one forward pass.
        assert 0.8 * asked < said[-1][1] < 1.2 * asked


@pytest.mark.parametrize(
    ("protocol", "samples", "settings"), [("paper", 6, {}), ("strict", 24, {}), ("strict-rand", 6, {"view": "fresh"})]
)
def test_at_every_moment_the_share_that_is_told_is_near_the_true_one(protocol, samples, settings):
    said, _ = told(protocol, samples, eps="0:0.1" if protocol == "paper" else "0.1", **settings)
    whole = said[-1][1]
    apart = [abs(done / (done + left) - done / whole) for _, done, left in said if done]
    assert max(apart) < 0.25


def test_what_a_block_took_is_what_the_next_one_is_expected_to_take():
    said: list[tuple[str, int, float]] = []
    account = work.Work({"pgd": 1000.0}, {"pgd": 30}, lambda *words: said.append(words))
    assert account.remaining == 30_000
    with account.of("pgd", 10):
        account.queried(100)
        assert account.remaining == 10_000 - 100 + 20_000
        account.queried(300)
    assert account.remaining == 20 * 40
    account.leave_out(15)
    assert account.remaining == 5 * 40
    with account.of("pgd", 5):
        account.queried(1000)
        assert account.remaining == 100, "longer than expected: a tenth of what was made"
    assert said[-1] == ("pgd", 1400, 0)


def test_watching_changes_no_bit(tmp_path):
    subject = run_subject(load_run(released_zoo() / "runs" / RUN), data_dir=None, download=False)
    settings = make_settings({"eps": "0.05,0.1"})
    path, _ = evaluate_subject(subject, (0, 30), settings, Execution(), out=tmp_path)
    split = subject.test[:30]
    plain = radii_that_break(make_question(subject.model(), usable_samples(split.x, split.y, None), settings))
    from ibrobust.robustness.storage import load_results

    assert load_results(path).rows.equals(plain.rows)
    assert torch.equal(split.x, subject.test[:30].x)
