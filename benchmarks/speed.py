"""The same evaluation by whoever is asked, timed once, with what it cost and found noted beside the time."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.ratios import least_gradients
from ibrobust.backends import BACKENDS, peer_breaking_radii
from ibrobust.datasets import Split
from ibrobust.robustness.breaking_radii import breaking_radii
from ibrobust.robustness.protocols import PROTOCOLS
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.samples import usable_samples
from ibrobust.robustness.settings import make_settings

OF_THE_PAPER = sorted({*BACKENDS} - {"pyautoattack"})
"""Libraries that have the attacks of the paper's protocol."""
EVERYBODY = ["native", *OF_THE_PAPER]


def evaluated(
    who: str, model: torch.nn.Module, samples: Split, *, attacks: Sequence[str] | None = None, **settings: Any
) -> BreakingRadii:
    """By us or through a library; `attacks` are some of the protocol's."""
    if who != "native":
        chosen = {} if attacks is None else {"attacks": tuple(attacks)}
        asked = make_settings({**settings, **chosen, "backend": who})
        return peer_breaking_radii(model, usable_samples(samples.x, samples.y), asked)
    return breaking_radii(model, samples.x, samples.y, attacks=attacks, **settings)


def timed(
    benchmark: Any,
    evaluation: Callable[..., BreakingRadii],
    who: str,
    model: torch.nn.Module,
    samples: Split,
    *arguments: Any,
    **settings: Any,
) -> BreakingRadii:
    """One round, since the shortest takes long enough, after a run on two samples that imports what is needed."""
    evaluation(who, model, samples[:2], *arguments, **settings)
    results: BreakingRadii = benchmark.pedantic(evaluation, (who, model, samples, *arguments), settings)
    return results


def noted(benchmark: Any, work: str, who: str, results: BreakingRadii) -> None:
    """What `ratios.ratio_table` reads."""
    gradients = sum(queries.gradient for queries in results.card.queries.values())
    paper = tuple(results.attacks) == PROTOCOLS["paper"].attacks and results.card.settings.columns == "own"
    benchmark.extra_info |= {
        "work": work,
        "backend": who,
        "gradients": round(gradients / len(results.rows), 1),
        "least": round(least_gradients(results), 1) if paper and who == "native" else None,
        "robust": int((results.all_attacks_N > results.radii_E[-1]).sum()),
        "threads": torch.get_num_threads(),
        "samples": len(results.rows),
    }
