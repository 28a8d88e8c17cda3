"""All checks of one case, and what they add up to."""

from collections.abc import Callable

import torch

from ibrobust.checks.interface import CHECKS, Case, Finding
from ibrobust.images import frozen


def audited(case: Case, *, progress: Callable[[str], None] = lambda _name: None) -> list[Finding]:
    """What each check that applies found; `progress` is told a check's name before it runs."""
    findings = []
    with frozen(case.model), torch.no_grad():
        for name, check in CHECKS.items():
            progress(name)
            findings.append(check(case))
    return [finding for finding in findings if finding is not None]
