"""Intervals and tests against published values, enumeration and simulation; the table that compare prints."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from ibrobust.commands import compare
from ibrobust.errors import BadInput
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.statistics import (
    compared,
    mcnemar,
    mean_error,
    paired_bootstrap,
    sign_flip_p,
    wilson_interval,
)
from ibrobust.robustness.storage import save_results
from tests.cards import card

RADII = [0.0, 0.01, 0.02, 0.05, 0.1]


def results(breaking: np.ndarray, **described) -> BreakingRadii:
    n = len(breaking)
    label = np.arange(n) % 10
    rows = {"sample": np.arange(n), "label": label, "prediction": label + (breaking == 0), "zero_gradient": False}
    whose = {} if "protocol" in described else {"attacks": ["pgd"]}
    asked = card(**{"eps": RADII, **whose, **described})
    return BreakingRadii(pd.DataFrame({**rows, "pgd": breaking.astype(np.float32)}), asked)


def drawn(seed: int, n: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).choice([*RADII, np.inf], n)


def test_wilson_equals_an_independent_implementation():
    for successes, n in [(0, 10), (3, 10), (10, 10), (81, 263), (1, 1)]:
        expected = binomtest(successes, n).proportion_ci(0.9, "wilson")
        found = wilson_interval(successes, n, level=0.9)
        np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], atol=1e-12)
    # Newcombe 1998, table I: 81 of 263.
    np.testing.assert_allclose(wilson_interval(81, 263)[1:], [0.2553, 0.3662], atol=5e-5)


@pytest.mark.parametrize("truth", [0.02, 0.5, 0.93])
def test_wilson_holds_the_truth_as_often_as_it_says(truth):
    # 400 simulations of 500 samples; their standard error is 1.1 %.
    successes = np.random.default_rng(0).binomial(500, truth, 400)
    share, low, high = wilson_interval(successes, 500)
    assert 0.93 <= ((low <= truth) & (truth <= high)).mean() <= 0.97
    assert ((low <= share) & (share <= high)).all()


@pytest.mark.parametrize(("successes", "n", "level"), [(-1, 5, 0.9), (6, 5, 0.9), (0, 0, 0.9), (1, 2, 1.0)])
def test_wilson_refuses_what_is_no_share(successes, n, level):
    with pytest.raises(BadInput, match="successes"):
        wilson_interval(successes, n, level=level)


@pytest.mark.parametrize("robust", [0.01, 0.5, 0.9, 0.99])
def test_the_error_of_a_mean_holds_the_truth_as_often_as_it_says(robust):
    """Samples that survive some of ten radii: 400 simulations of 200; their standard error is 1.1 %."""
    values_SN = np.random.default_rng(1).binomial(10, robust, (400, 200)) / 10
    values_SN[:, ::2] = np.round(values_SN[:, ::2])  # Half of them all or nothing, which spreads more.
    truth = (robust + np.mean(np.round(np.random.default_rng(2).binomial(10, robust, 10**6) / 10))) / 2
    error_S = np.array([mean_error(values_N) for values_N in values_SN])
    assert (np.abs(values_SN.mean(1) - truth) <= error_S).mean() >= 0.93
    assert mean_error(np.zeros(10)) > 0.1


def test_the_error_of_many_values_is_the_textbooks():
    values_N = np.random.default_rng(0).random(100_000)
    assert mean_error(values_N) == pytest.approx(1.96 * values_N.std() / np.sqrt(100_000), rel=1e-3)


def test_mcnemar_of_a_published_table():
    # Fagerland, Lydersen, Laake 2013: airway hyper-responsiveness, 1 and 7 discordant pairs.
    exact, mid = mcnemar([1, 0, 4], [7, 0, 4])
    np.testing.assert_allclose(exact, [0.0703125, 1, 1], atol=1e-12)
    np.testing.assert_allclose(mid, [0.0390625, 1, 1], atol=1e-12)
    np.testing.assert_allclose(mcnemar(range(20), 9)[0], [binomtest(k, k + 9).pvalue for k in range(20)])


def test_the_exact_test_errs_no_more_often_than_it_says():
    discordant = np.random.default_rng(1).binomial(40, 0.5, 4000)
    exact, mid = mcnemar(discordant, 40 - discordant)
    assert (exact <= 0.05).mean() <= 0.05
    assert (exact <= 0.05).mean() <= (mid <= 0.05).mean() <= 0.06


def test_the_bootstrap_equals_resampling_one_by_one():
    difference = np.array([[1.0, 0, -1, 0, 1, 1, 0, 0], [0.5, 0.25, -1, 0, 1, 0.5, 0, 0]])
    every = np.array(list(itertools.product(range(4), repeat=4)))
    found = paired_bootstrap(difference[:, :4], resamples=200_000, level=0.8)
    expected = np.quantile(difference[:, every].mean(2), [0.1, 0.9], axis=1)
    np.testing.assert_allclose([found.low, found.high], expected, atol=1e-12)
    again = paired_bootstrap(difference, seed=3)
    np.testing.assert_array_equal(again, paired_bootstrap(difference, seed=3))


def test_the_bootstrap_holds_the_true_difference_as_often_as_it_says():
    rng, held = np.random.default_rng(2), []
    shared = rng.random((400, 300))
    a, b = shared < 0.6, (shared < 0.5) ^ (rng.random((400, 300)) < 0.1)
    truth = 0.6 - (0.5 * 0.9 + 0.5 * 0.1)
    for difference in a.astype(float) - b:
        _, low, high = paired_bootstrap(difference[None], resamples=1000)
        held.append(low[0] <= truth <= high[0])
    assert 0.93 <= np.mean(held) <= 0.97


def test_sign_flips_equal_their_enumeration():
    difference = np.array([1.0, 2, -1, 3, 0, 2, -2])
    signs = np.array(list(itertools.product([-1, 1], repeat=7)))
    exact = (np.abs(signs @ difference) >= abs(difference.sum())).mean()
    assert sign_flip_p(difference, resamples=100_000) == pytest.approx(exact, abs=0.005)
    assert sign_flip_p(np.zeros(5)) == 1
    assert sign_flip_p(np.ones(100), resamples=999) == 0.001


def test_compared_counts_the_samples_that_only_one_survives():
    a, b = drawn(0), drawn(1)
    found = compared(results(a), results(b))
    for index, radius in enumerate(np.float32(RADII)):
        robust_a, robust_b = a.astype(np.float32) > radius, b.astype(np.float32) > radius
        assert found.a_E[index] == pytest.approx(robust_a.mean())
        assert found.only_a_E[index] == (robust_a & ~robust_b).sum()
        assert found.only_b_E[index] == (robust_b & ~robust_a).sum()
        assert found.difference_E.value[index] == pytest.approx(robust_a.mean() - robust_b.mean())
    assert found.average.value == pytest.approx(results(a).robust_avg - results(b).robust_avg)
    assert (found.difference_E.low <= found.difference_E.value).all()
    back = compared(results(b), results(a))
    np.testing.assert_array_equal(back.p_E, found.p_E)


def test_a_model_differs_from_itself_by_nothing_whatever_the_order_of_its_rows():
    whole = results(drawn(0))
    shuffled = BreakingRadii(whole.rows.sample(frac=1, random_state=0), whole.card)
    found = compared(whole, shuffled)
    assert found.average == (0, 0, 0)
    assert found.average_p == 1
    assert (found.p_E.exact == 1).all()


OTHERS = {
    "radii": results(drawn(0), eps=[0.0, 0.1]),
    "protocol": results(drawn(0), protocol="strict"),
    "norm": results(drawn(0), norm="l2"),
    "view": results(drawn(0), view="fresh"),
    "different samples": results(drawn(0, n=100)),
    r"different samples \(200 and 200\)": results(drawn(0), fingerprint="f00"),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_results_of_another_question_are_refused(reason):
    with pytest.raises(BadInput, match=f"cannot be compared: .*{reason}"):
        compared(results(drawn(0)), OTHERS[reason])


def test_the_command_prints_one_table_and_refuses_in_one_line(command, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        save_results(results(drawn(seed), run=f"run-{name}", data="digits"), tmp_path / f"{name}.parquet")
    save_results(OTHERS["protocol"], tmp_path / "strict.parquet")
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:500])
    done = command("compare", "a.parquet", "b.parquet", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "A  run-a on digits, n 200, pgd, linf, view mean, backend native"
    assert lines[3].split() == [
        "radius",
        "A",
        "B",
        "A",
        "−",
        "B",
        "low",
        "high",
        "only",
        "A",
        "only",
        "B",
        "p",
        "p",
        "exact",
    ]
    assert [line.split()[0] for line in lines[4:10]] == ["0", "0.01", "0.02", "0.05", "0.1", "average"]
    for words in (
        ("a.parquet", "strict.parquet"),
        ("a.parquet", "missing.parquet"),
        ("a.parquet", "torn.parquet"),
        ("a.parquet",),
        ("a.parquet", "b.parquet", "--level", "1.5"),
        ("a.parquet", "b.parquet", "--resamples", "0"),
    ):
        refused = command("compare", *words, cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("error: ")
        assert refused.stderr.count("\n") == 1


def test_the_text_is_the_same_every_time():
    a, b = results(drawn(0)), results(drawn(1))
    assert compare.comparison_text(a, b) == compare.comparison_text(a, b)
