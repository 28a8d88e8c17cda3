"""A law of latent noise that one file outside the package adds, from the command line to the table of information."""

import math
from pathlib import Path

import pandas as pd
import pytest

UNIFORM = """
import math
import torch
from ibrobust.models.noise import LATENT_NOISES, LatentNoise, Law

WIDTH = math.sqrt(12)  # of variance 1
uniform = Law(
    "uniform",
    lambda noise, dims: WIDTH * (noise.uniform(dims) - 0.5),
    entropy=math.log(WIDTH),
    log_density=lambda e: torch.where(e.abs() <= WIDTH / 2, -math.log(WIDTH), -math.inf).to(e.dtype),
)
LATENT_NOISES["uniform"] = LatentNoise(0.5, uniform)
LATENT_NOISES["secret"] = LatentNoise(0.5, Law("secret", uniform.sample))
"""
SMALL = ["--epochs", "1", "--latent", "4", "--train-samples", "300", "--plugin", "laws.py"]
MEASURE = ["--plugin", "laws.py", "--samples", "200", "--repeats", "1"]


@pytest.fixture
def laws(tmp_path: Path) -> Path:
    (tmp_path / "laws.py").write_text(UNIFORM)
    return tmp_path


def measured(command, folder: Path, noise: str) -> tuple[pd.DataFrame, str]:
    trained = command("train", "--noise", noise, *SMALL, cwd=folder)
    assert trained.returncode == 0, trained.stderr
    done = command("information", "runs", *MEASURE, cwd=folder)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(folder / "results" / "information.csv")
    return table[(table["view"] == "fresh") & (table["split"] == "test")].set_index("quantity"), done.stdout


def test_a_law_with_an_entropy_is_measured_exactly_and_missed_where_it_is_not_loaded(command, laws: Path) -> None:
    shown = command("train", "--help", "--plugin", "laws.py", cwd=laws)
    assert "learned, none, secret, uniform, zero-entropy" in " ".join(shown.stdout.split())
    rows, _ = measured(command, laws, "uniform")
    given = rows.loc["encoding_entropy_given_input"]
    exact = pytest.approx(4 * math.log(math.sqrt(12) * 0.5), abs=1e-6)
    assert (given["estimator"], given["nats"], given["low"], given["high"]) == ("closed-form", exact, exact, exact)
    assert math.isfinite(rows.loc["preserved_information", "nats"])
    refused = command("information", "runs", cwd=laws)
    assert refused.returncode == 2
    assert "'uniform'" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_law_without_an_entropy_leaves_bounds_and_a_sentence(command, laws: Path) -> None:
    rows, printed = measured(command, laws, "secret")
    given = rows.loc["encoding_entropy_given_input"]
    assert given["estimator"] == "not computable"
    assert math.isnan(given["nats"])
    assert given["low"] <= 4 * math.log(math.sqrt(12) * 0.5) <= given["high"]
    assert "preserved_information" not in rows.index
    assert "I[X;Z] and I[X;Z|Y] are left out: the entropy of noise of law 'secret' is not known" in printed
