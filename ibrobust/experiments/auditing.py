"""From a run on disk, or anybody's model, to a verdict on its robustness, kept in the results it is about."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ibrobust.certificates.certificate import certified_eps_N, piecewise_linear_network
from ibrobust.checks import CHECKS, Case, Finding, Verdict, audited, verdict_of
from ibrobust.errors import BadInput, one_line
from ibrobust.experiments.evaluation import evaluate_subject
from ibrobust.experiments.subject import Subject
from ibrobust.images import as_images
from ibrobust.models.calls import undisturbed
from ibrobust.plugins import digests_of
from ibrobust.robustness.card import AuditRecord, FindingRecord
from ibrobust.robustness.health import require_health_choice, warned_of
from ibrobust.robustness.question import Execution
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.samples import Arrays, usable_samples
from ibrobust.robustness.settings import Settings
from ibrobust.robustness.storage import Results, first_samples, load_results, save_results
from ibrobust.subjects.zoo import Run


@dataclass(frozen=True)
class Audit:
    """What the checks found about one claim, and what that adds up to."""

    claim: Results
    radius: float
    findings: list[Finding]
    warnings: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.findings)

    @property
    def reasons(self) -> list[str]:
        return [finding.sentence for finding in self.findings if not finding.passed]

    @property
    def record(self) -> AuditRecord:
        """What the card of the audited results says about the audit."""
        findings = [FindingRecord(**asdict(finding)) for finding in self.findings]
        plugins = digests_of(("check", finding.name) for finding in self.findings) or None
        return AuditRecord(samples=len(self.claim.sample_N), eps=self.radius, findings=findings, plugins=plugins)

    def __str__(self) -> str:
        lines = [_line(finding) for finding in self.findings]
        asked = f"{len(lines)} checks on {len(self.claim.sample_N)} samples, most of them at ε = {self.radius:g}"
        warned = [f"warning: {one_line(text)}" for text in self.warnings]
        return "\n".join([*lines, *warned, f"{self.verdict}, by {asked}"])


def _line(finding: Finding) -> str:
    outcome = "ok" if finding.passed else finding.means
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
    warned = warned_of(model, x, y, noisy=claim.card.settings.view != "mean") if health == "check" else []
    case = Case(model, as_images(x.to(device)), y.to(device), claim, twin)
    return Audit(claim, case.radius, audited(case, progress=progress), warned)


def audit_subject(
    subject: Subject,
    settings: Settings,
    execution: Execution,
    *,
    samples: int,
    out: Path,
    twin: nn.Module | None = None,
) -> tuple[Audit, Results]:
    """Audit the stored results of a subject on their first samples; where there are none, those are evaluated first.

    The verdict and its findings go into the card of the results, which are given back beside the audit; `save_findings`
    makes the verdict count.

    Args:
        settings: eps, seed, search and restarts matter only where there are no results yet; their columns say which
            results are audited where there are own and standing ones.

    Raises:
        BadInput: as `evaluate_subject`.
    """
    stored = stored_claim(subject, settings, out)
    if not stored:
        first = (0, min(samples, len(subject.test)))
        evaluate_subject(subject, first, settings, execution, out=out)
        stored = stored_claim(subject, settings, out)
    assert stored, "what was evaluated a moment ago is there"
    path, results = stored
    claim = first_samples(results, samples)
    split = subject.test[torch.tensor(claim.sample_N["sample"].to_numpy())]
    with tqdm(total=len(CHECKS), desc=f"audit {subject.name}", disable=None) as bar:

        def progress(name: str) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update()

        model = subject.model().to(execution.device)
        found = audit(model, split.x, split.y, claim, twin=twin, progress=progress, health=subject.health)
    judged = results.card.model_copy(update={"verdict": found.verdict, "audit": found.record})
    save_results(replace(results, card=judged), path)
    return found, replace(results, card=judged)


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


def stored_claim(subject: Subject, settings: Settings, out: Path) -> tuple[Path, Results] | None:
    """The results file of exactly this model and data that answers this question, at whatever radii, if there is
    one."""
    for path in sorted((out / settings.label).glob(f"{subject.name}*.parquet")):
        results = load_results(path)
        theirs = results.card.settings
        if subject.describes(results.card) and theirs.file_stem("") == settings.file_stem(""):
            return path, results
    return None


def with_stored_columns(subject: Subject, settings: Settings, out: Path, *, named: bool) -> tuple[Settings, str]:
    """The settings with the columns that are audited, and in words which those are and what else is stored.

    Args:
        named: whether the caller chose the columns. If not, standing ones are audited where they alone are stored.
    """
    if settings.view != "mean":
        return settings, ""
    kinds = [settings.columns, "standing" if settings.columns == "own" else "own"]
    stored = [kind for kind in kinds if stored_claim(subject, settings.model_copy(update={"columns": kind}), out)]
    chosen = stored[0] if len(stored) == 1 and not named else kinds[0]
    others = [kind for kind in stored if kind != chosen]
    again = "; what single attacks break is computed again" if chosen == "standing" else ""
    beside = f"; {others[0]} ones are stored, too (--columns {others[0]})" if others else ""
    return settings.model_copy(update={"columns": chosen}), f", {chosen} columns{again}{beside}"


def require_certifiable(subject: Subject) -> None:
    """Raises:
    BadInput: no certificate for the subject's model, whatever the samples.
    """
    try:
        piecewise_linear_network(subject.model(), subject.test.x.shape[1:], torch.device("cpu"))
    except BadInput as error:
        raise BadInput(f"{subject.name}: {error}") from error


def certified_row(
    subject: Subject, claim: BreakingRadii, *, device: str, progress: Callable[[int], object]
) -> dict[str, str | int | float]:
    """Certified and attacked radii on average, both cut at the largest radius, and the share of the way in between
    that is closed; at half of the largest radius, the share of samples that is certain and the share not broken.

    `refuted` counts samples that an attack broke within their certified radius: a bug if it is not 0.
    """
    split = subject.test[torch.tensor(claim.rows["sample"].to_numpy())]
    radii_E, attacked_N = claim.radii_E, claim.all_attacks_N
    certified_N = certified_eps_N(
        subject.model().to(device), split.x.to(device), split.y.to(device), claim.card.settings.radii, progress=progress
    )
    half = radii_E[np.abs(radii_E - radii_E[-1] / 2).argmin()]
    upper_N = np.minimum(attacked_N, radii_E[-1])
    return {
        "run": subject.name,
        "protocol": claim.card.settings.label,
        "n": len(claim.rows),
        "certified": float(certified_N.mean()),
        "attacked": float(upper_N.mean()),
        "closed": float(certified_N.sum() / upper_N.sum()) if upper_N.any() else 1.0,
        "eps": float(half),
        "certified@eps": float((certified_N >= half).mean()),
        "robust@eps": float((attacked_N > half).mean()),
        "refuted": int(((attacked_N <= certified_N) & (attacked_N > 0)).sum()),
    }
