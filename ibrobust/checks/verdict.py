"""All checks of one case, and what they add up to."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ibrobust.checks.interface import CHECKS, Case, Finding
from ibrobust.images import frozen


def audited(case: Case, *, progress: Callable[[str], None] = lambda _name: None) -> list[Finding]:
    """What each check that applies found; `progress` is told a check's name before it runs."""
    return findings_of(case, list(CHECKS), progress=progress)


def findings_of(
    case: Case, names: Sequence[str], *, progress: Callable[[str], None] = lambda _name: None
) -> list[Finding]:
    """`audited` by some checks alone; what they find does not depend on which others have run."""
    findings = []
    for name in names:
        progress(name)
        # A model that draws from torch itself draws the same whatever was asked before.
        with frozen(case.model), torch.no_grad(), torch.random.fork_rng(devices=_devices()):
            torch.manual_seed(0)
            finding = CHECKS[name](case)
        if finding is not None:
            findings.append(replace(finding, name=name))
    return findings


def _devices() -> list[int]:
    return [*range(torch.cuda.device_count())]
