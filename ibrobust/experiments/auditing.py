"""What an audit of a claim is: the findings of all checks, and the verdict that they add up to."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from torch import nn

from ibrobust.checks import Case, Evidence, Finding, Verdict, audited, evidence_of, verdict_of
from ibrobust.errors import BadInput, one_line
from ibrobust.images import as_images
from ibrobust.models.calls import undisturbed
from ibrobust.plugins import digests_of
from ibrobust.robustness.card import AuditRecord, FindingRecord
from ibrobust.robustness.health import require_health_choice, warned_of
from ibrobust.robustness.samples import Arrays, usable_samples
from ibrobust.robustness.storage import Results
from ibrobust.robustness.verdicts import decisive
from ibrobust.subjects.zoo import Run


@dataclass(frozen=True)
class Audit:
    """What the checks found about one claim, and what that adds up to.

    Attributes:
        sample: how the samples were drawn from those of the results; None where they are the first.
    """

    claim: Results
    radius: float
    findings: list[Finding]
    warnings: list[str] = field(default_factory=list)
    sample: str | None = None

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.findings)

    @property
    def evidence(self) -> Evidence:
        """How the claim stands: by how much the strongest counter-attack undercuts it, and whether one could have."""
        evidence = evidence_of(self.findings)
        assert evidence is not None, "every check of this version has a kind"
        return evidence

    @property
    def reasons(self) -> list[str]:
        """What the verdict rests on, where it is not `trusted`."""
        return [finding.sentence for finding in decisive(self.findings)]

    @property
    def notes(self) -> list[str]:
        """What is odd about the model, and changes no verdict."""
        return [finding.sentence for finding in self.findings if finding.kind == "note" and not finding.passed]

    @property
    def record(self) -> AuditRecord:
        """What the card of the audited results says about the audit."""
        told = [
            {key: value for key, value in asdict(finding).items() if value is not None} for finding in self.findings
        ]
        findings = [FindingRecord(passed=one.passed, **about) for one, about in zip(self.findings, told, strict=True)]
        plugins = digests_of(("check", finding.name) for finding in self.findings) or None
        about = {"sample": self.sample} if self.sample else {}
        samples = len(self.claim.sample_N)
        return AuditRecord(samples=samples, eps=self.radius, findings=findings, plugins=plugins, **about)

    def __str__(self) -> str:
        lines = [_line(finding) for finding in self.findings]
        checks = f"{len(lines)} checks on {len(self.claim.sample_N)} samples, most of them at ε = {self.radius:g}"
        warned = [f"warning: {one_line(text)}" for text in self.warnings]
        return "\n".join([*lines, *warned, f"{self.evidence}", f"{self.verdict}, by {checks}"])


def _line(finding: Finding) -> str:
    outcome = "ok" if finding.passed else "note" if finding.kind == "note" else finding.means
    return f"{outcome:<8}{finding.name:<17}{finding.value:6.3f} ≤ {finding.threshold:<6.3g} {finding.sentence}"


@undisturbed()
def audit(
    model: nn.Module,
    x: Arrays,
    y: Arrays,
    claim: Results,
    *,
    twin: nn.Module | None = None,
    progress: Callable[[str], None] = lambda _name: None,
    health: str = "check",
) -> Audit:
    """Check what is claimed about a model.

    Args:
        x, y: the samples of the claim, in its order, as `breaking_radii` takes them.
        claim: from `breaking_radii` or `noisy_readings`.
        twin: the same model without its regulariser, where there is one: attacks on it are tried on the model.
        progress: told the name of each check before it runs.
        health: as `breaking_radii` takes it.

    Raises:
        BadInput: the samples are not those of the claim, or the model is refused.
    """
    x, y, _ = usable_samples(x, y)
    labels = claim.sample_N["label"].to_numpy()
    if len(x) != len(labels) or not np.array_equal(y.cpu().numpy(), labels):
        raise BadInput(f"x and y hold {len(x)} samples that are not the {len(labels)} of the claim")
    device = next((parameter.device for parameter in model.parameters()), x.device)
    twin = twin.to(device) if twin else None
    require_health_choice(health)
    case = Case(model, as_images(x.to(device)), y.to(device), claim, twin)
    noisy, gradients = case.claimed.noisy, case.claimed.gradients
    warned = warned_of(model, x, y, noisy=noisy, gradients=gradients) if health == "check" else []
    return Audit(claim, case.radius, audited(case, progress=progress), warned)


def twin_of(run: Run, others: Sequence[Run]) -> Run | None:
    """The run that differs in having no regulariser, if the given one has one; with the same noise where there is a
    choice."""
    if run.card.recipe.reg == "none":
        return None
    apart = {"reg", "gamma", "noise"}
    wanted = run.card.recipe.model_dump(exclude=apart)
    plain = [other for other in others if other.card.recipe.reg == "none"]
    same = [other for other in plain if other.card.recipe.model_dump(exclude=apart) == wanted]
    return min(same, key=lambda other: (other.card.noise != run.card.noise, other.card.run), default=None)
