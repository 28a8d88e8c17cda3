"""Each attack and each whole protocol, ours beside the libraries. `make bench`"""

from typing import Any

import pytest
import torch

from ibrobust.attacks import ATTACKS, PROTOCOLS
from ibrobust.backends import BACKENDS, peer_breaking_radii
from ibrobust.datasets import Split
from ibrobust.results import BreakingRadii
from ibrobust.robustness import breaking_radii

EVERYBODY = ["native", *sorted(BACKENDS)]


def evaluated(
    backend: str, model: torch.nn.Module, samples: Split, *, attacks: list[str] | None = None, **settings: Any
) -> BreakingRadii:
    """The same evaluation by whoever is asked."""
    if backend != "native":
        return peer_breaking_radii(backend, model, samples.x, samples.y, attacks=attacks, **settings)
    chosen = None if attacks is None else {name: ATTACKS[name] for name in attacks}
    return breaking_radii(model, samples.x, samples.y, attacks=chosen, **settings)


def timed(benchmark: Any, backend: str, *arguments: Any, **settings: Any) -> BreakingRadii:
    """One round: the shortest takes long enough. The library is imported and has run once before."""
    model, samples = arguments
    evaluated(backend, model, samples[:16], **settings | {"eps": "0.01"})
    results: BreakingRadii = benchmark.pedantic(evaluated, (backend, *arguments), settings, rounds=1, iterations=1)
    return results


def noted(benchmark: Any, work: str, backend: str, results: BreakingRadii) -> None:
    gradients = sum(queries["gradient"] for queries in results.card["queries"].values())
    benchmark.extra_info |= {
        "work": work,
        "backend": backend,
        "gradients": round(gradients / len(results.rows), 1),
        "robust": int((results.all_attacks_N > results.radii_E[-1]).sum()),
        "threads": torch.get_num_threads(),
        "samples": len(results.rows),
    }


@pytest.mark.parametrize("backend", EVERYBODY)
@pytest.mark.parametrize("attack", PROTOCOLS["paper"])
def test_attack(
    benchmark: Any, attack: str, backend: str, plain_model: torch.nn.Module, samples: Split, eps: str
) -> None:
    benchmark.group = attack
    results = timed(benchmark, backend, plain_model, samples, attacks=[attack], eps=eps)
    noted(benchmark, attack, backend, results)


@pytest.mark.parametrize("backend", EVERYBODY)
def test_paper(benchmark: Any, backend: str, plain_model: torch.nn.Module, samples: Split, eps: str) -> None:
    benchmark.group = "paper"
    results = timed(benchmark, backend, plain_model, samples, eps=eps)
    noted(benchmark, "paper", backend, results)
