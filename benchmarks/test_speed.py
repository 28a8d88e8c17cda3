"""Each attack and the whole protocol of the paper, ours beside the libraries. `make bench`"""

from typing import Any

import pytest
import torch

from benchmarks.speed import EVERYBODY, evaluated, noted, timed
from ibrobust.datasets import Split
from ibrobust.robustness.protocols import PROTOCOLS


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("attack", PROTOCOLS["paper"].attacks)
def test_attack(benchmark: Any, attack: str, who: str, plain_model: torch.nn.Module, samples: Split, eps: str) -> None:
    benchmark.group = attack
    results = timed(benchmark, evaluated, who, plain_model, samples, attacks=[attack], eps=eps)
    noted(benchmark, attack, who, results)


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("columns", ["own", "standing"])
def test_paper(benchmark: Any, columns: str, who: str, plain_model: torch.nn.Module, samples: Split, eps: str) -> None:
    """Each attack's own answer; or only what is left of a sample after the attacks before."""
    benchmark.group = f"paper, {columns}"
    results = timed(benchmark, evaluated, who, plain_model, samples, eps=eps, columns=columns)
    noted(benchmark, f"paper, {columns}", who, results)
