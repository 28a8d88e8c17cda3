"""What `information` refuses before any work, and what it leaves out, with a reason, of data that do not allow it."""

import math
from pathlib import Path

import pytest
import torch

from ibrobust.commands import information
from ibrobust.datasets import Split, load_dataset
from ibrobust.entropies.calibration import Neighbours
from ibrobust.entropies.measurement import Measurement, measured
from ibrobust.entropies.quantities import summary
from ibrobust.errors import BadInput
from ibrobust.models import architecture, build_model
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.models.noise import ZERO_ENTROPY_STD, LatentNoise
from tests.refusals import exit_of
from tests.test_terminal import said

CLASSES = ("reverse_decoder_uncertainty", "decoder_uncertainty", "redundant_information")


def model(noise_std: float = ZERO_ENTROPY_STD) -> Bottleneck:
    return build_model(architecture("mlp"), shape=(1, 8, 8), classes=10, latent=4, noise=LatentNoise(noise_std))


def digits(*counts: int) -> Split:
    """So many test digits of each class."""
    test = load_dataset("digits").test
    rows = torch.cat([(test.y == label).nonzero().flatten()[:count] for label, count in enumerate(counts)])
    return Split(test.x[rows], test.y[rows])


def named(measurement: Measurement) -> set[str]:
    """The quantities that nearest neighbours gave."""
    return {name for name, row in measurement.rows if row.estimator.startswith("knn")}


# Flags ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--samples", "-5"], ["--samples", "'-5'", "from 1 to"]),
        (["--samples", "0"], ["--samples", "'0'", "from 1 to"]),
        (["--k", "0"], ["--k", "'0'", "from 1 to"]),
        (["--k", "3", "-1"], ["--k", "'-1'", "from 1 to"]),
        (["--repeats", "0"], ["--repeats", "'0'", "from 1 to 1000"]),
        (["--draws", "0"], ["--draws", "'0'", "from 1 to 10000"]),
        (["--draws", "1" * 5000], ["--draws", "from 1 to 10000"]),
        (["--distance", "l7"], ["--distance", "'l7'", "l2, max"]),
        (["--view", "loud"], ["--view", "'loud'", "mean, fresh, averaged:N"]),
        (["--view", "averaged:0"], ["--view", "'averaged:0'", "averaged:N with N from 1"]),
        (["--noise", "averaged:" + "9" * 5000], ["--view", "averaged:N with N from 1"]),
        (["--seed", "-1"], ["--seed", "'-1'", "from 0"]),
        (["--seed", str(2**64)], ["--seed", str(2**64), "from 0"]),
        (["--k", "99999"], ["--k 99999", "samples", "choose k from 1 to"]),
        (["--samples", "3"], ["--k 3", "has 3 train samples", "choose k from 1 to 2"]),
    ],
    ids=lambda value: " ".join(value)[:30],
)
def test_flags_are_refused_in_one_line_before_any_work(
    folder: Path, capsys, monkeypatch, words: list[str], said: list[str]
) -> None:
    monkeypatch.setattr("ibrobust.entropies.measurement.measured", _never)
    code, err = exit_of(capsys, monkeypatch, "information", *words)
    assert code == 2, err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert all(word in err for word in said), err
    assert not (folder / "results").exists()


def _never(*_arguments: object, **_settings: object) -> None:
    raise AssertionError("measured")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "-1"], ["--seed", "'-1'", "from 0"]),
        (["--resamples", str(10**12)], ["--resamples", "from 1 to 1000000"]),
        (["--resamples", "0"], ["--resamples", "from 1 to 1000000"]),
        (["--resamples", "many"], ["--resamples", "'many'"]),
    ],
)
def test_flags_of_compare_are_refused_in_one_line(
    folder: Path, capsys, monkeypatch, words: list[str], said: list[str]
) -> None:
    code, err = exit_of(capsys, monkeypatch, "compare", "a.parquet", "b.parquet", *words)
    assert code == 2, err
    assert err.count("\n") == 1
    assert all(word in err for word in said), err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ks": [0]}, "k 0: "),
        ({"how": Neighbours(repeats=0)}, "repeats 0: "),
        ({"how": Neighbours(seed=-1)}, "seed -1: "),
        ({"how": Neighbours(norm="l7")}, "no distance 'l7'; choose from l2, max"),
    ],
)
def test_from_python_the_parameter_is_named(settings: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        measured(model(), digits(20, 20), **settings)


# What the data do not allow ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rare", [1, 2, 3])
def test_a_rare_class_costs_only_what_needs_classes(rare: int) -> None:
    split = digits(30, 30, rare)
    measurement = measured(model(), split, how=Neighbours(repeats=2))
    assert {"encoding_entropy", "preserved_information"} <= named(measurement)
    assert not named(measurement) & set(CLASSES)
    (reason,) = (sentence for sentence in measurement.warnings if "left out" in sentence)
    assert f"class 2 holds {rare} samples; its entropy needs 4 or more" in reason
    rows = dict(measurement.rows)
    expected = dict(measured(model(), split, how=Neighbours(repeats=2), ks=[]).rows)
    assert rows["decoder_cross_entropy"] == expected["decoder_cross_entropy"]
    bounds = rows["preserved_information"]
    assert 0 <= bounds.low <= bounds.best <= bounds.high


def test_with_several_k_each_measures_what_it_can() -> None:
    measurement = measured(model(), digits(30, 30, 3), ks=[1, 3], how=Neighbours(repeats=2))
    k_of = {row.k for name, row in measurement.rows if name == "reverse_decoder_uncertainty"}
    assert k_of == {1}
    assert {row.k for name, row in measurement.rows if name == "encoding_entropy"} == {1, 3}


@pytest.mark.parametrize("view", ["mean", "fresh"])
def test_images_that_are_there_twice_cost_only_the_entropies(view: str) -> None:
    """Copies have no density in a latent without noise; with noise they have."""
    once = digits(30, 30)
    split = Split(torch.cat([once.x, once.x[:1]]), torch.cat([once.y, once.y[:1]]))
    noisy = view == "fresh"
    measurement = measured(model(ZERO_ENTROPY_STD if noisy else 0.0), split, view=view, how=Neighbours(repeats=2))
    assert ("encoding_entropy" in named(measurement)) == noisy
    assert any("2 of 61 samples coincide" in sentence for sentence in measurement.warnings) != noisy
    assert "decoder_cross_entropy" in dict(measurement.rows)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_samples_are_measured_as_far_as_they_go(count: int) -> None:
    split = digits(count)
    measurement = measured(model(), split, how=Neighbours(repeats=2))
    assert not named(measurement)
    loss = dict(measurement.rows)["decoder_cross_entropy"]
    assert math.isfinite(loss.nats)
    assert loss.low < loss.nats < loss.high
    assert set(summary(model(), split.x, split.y)) == {"error", "decoder_cross_entropy"}


def test_results_are_written_before_they_are_printed(folder: Path, monkeypatch) -> None:
    """A terminal that fails costs no result."""

    def full(*_words: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("builtins.print", full)
    with pytest.raises(OSError, match="No space left"):
        information.main(["--samples", "100", "--repeats", "1"])
    assert (folder / "results" / "information.csv").stat().st_size > 1000


def test_what_is_printed_is_the_calibrated_number_in_its_interval(folder: Path, capsys) -> None:
    information.main(["--samples", "300", "--repeats", "2", "--noise", "fresh"])
    printed = capsys.readouterr().out
    assert printed.count("H[Z] ") == printed.count("I[X;Z] ") == 2
    assert "warning" not in printed


def test_an_ascii_terminal_gets_its_lines_and_every_file(folder: Path, monkeypatch) -> None:
    printed = said(monkeypatch, "ascii", "information", "--samples", "100", "--repeats", "1", "--figures")
    assert "Htheta[Y|Z]" in printed
    written = {path.name for path in (folder / "results").rglob("*") if path.is_file()}
    assert {"information.csv", "saturation.png", "quantities.svg", "diagram.png"} <= written
