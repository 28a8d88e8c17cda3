"""Each attack and the whole protocol of the paper, ours beside the libraries. `make bench`"""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.speed import EVERYBODY, evaluated, noted, timed
from benchmarks.victims import trained_victim
from ibrobust.datasets import Dataset, Split
from ibrobust.robustness.protocols import PROTOCOLS


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("attack", PROTOCOLS["paper"].attacks)
def test_attack(benchmark: Any, attack: str, who: str, plain_model: torch.nn.Module, samples: Split, eps: str) -> None:
    benchmark.group = attack
    results = timed(benchmark, evaluated, who, plain_model, samples, attacks=[attack], eps=eps)
    noted(benchmark, attack, who, results)


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("victim", ["lenet", "strided", "residual"])
def test_victims(
    benchmark: Any, victim: str, who: str, data: Dataset, samples: Split, weights: Path | None, victims_eps: str
) -> None:
    """The paper's protocol on three kinds of network, each adversarially trained."""
    benchmark.group = f"paper, {victim}"
    results = timed(benchmark, evaluated, who, trained_victim(victim, weights, data), samples, eps=victims_eps)
    noted(benchmark, f"paper, {victim}", who, results)


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("columns", ["own", "standing"])
def test_paper(benchmark: Any, columns: str, who: str, plain_model: torch.nn.Module, samples: Split, eps: str) -> None:
    """Each attack's own answer; or only what is left of a sample after the attacks before."""
    benchmark.group = f"paper, {columns}"
    results = timed(benchmark, evaluated, who, plain_model, samples, eps=eps, columns=columns)
    noted(benchmark, f"paper, {columns}", who, results)
