"""What the findings of an audit add up to: whether evidence stands against a claim, and the verdict in one word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

Verdict = Literal["masked", "suspect", "trusted"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""The worst first."""
Doubt = Literal["suspect", "masked"]
Kind = Literal["attack", "control", "note"]
"""What a check is: an attack on what is claimed to be robust; a control, which asks whether anything could have been
found; or a note on how the model looks, which no verdict rests on."""


@runtime_checkable
class Judged(Protocol):
    """One check's answer.

    Attributes:
        kind: None in findings of before there were kinds, all of which decide a verdict.
        error: half the width of an attack's 95 % interval.
    """

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def passed(self) -> bool: ...
    @property
    def means(self) -> Doubt: ...
    @property
    def kind(self) -> Kind | None: ...
    @property
    def error(self) -> float | None: ...
    @property
    def sentence(self) -> str: ...


@dataclass(frozen=True)
class Evidence:
    """How a claim stands after counter-attacks and controls.

    Attributes:
        stands: `undercut` where a counter-attack breaks more than is claimed, by more than its threshold; else
            `untestable` where a control fails, so that nothing could have been found; else `supported`.
        share: of the audited samples that the strongest counter-attack breaks beyond the claim.
        error: half the width of its 95 % interval for the draw of the samples.
        by: the name of that attack; of the control that fails; empty where nothing was attacked.
    """

    stands: Literal["supported", "undercut", "untestable"]
    share: float
    error: float
    by: str

    def __str__(self) -> str:
        found = f"{self.share:.2f} ± {self.error:.2f}"
        if self.stands == "undercut":
            return f"undercut by {found} ({self.by})"
        if self.stands == "untestable":
            return f"untestable ({self.by})"
        return f"supported (counter-attacks break {found} more at most)" if self.by else "supported (nothing to attack)"


def evidence_of(findings: Sequence[Judged]) -> Evidence | None:
    """How the claim stands; None for findings of before checks had kinds."""
    if any(finding.kind is None for finding in findings):
        return None
    attacks = [finding for finding in findings if finding.kind == "attack"]
    strongest = max(attacks, key=lambda finding: (not finding.passed, finding.value), default=None)
    share, error = (strongest.value, strongest.error or 0.0) if strongest else (0.0, 0.0)
    if strongest and not strongest.passed:
        return Evidence("undercut", share, error, strongest.name)
    failed = [finding.name for finding in findings if finding.kind == "control" and not finding.passed]
    if failed:
        return Evidence("untestable", share, error, failed[0])
    return Evidence("supported", share, error, strongest.name if strongest else "")


def decisive(findings: Sequence[Judged]) -> list[Judged]:
    """The failed findings that a verdict rests on: all but notes."""
    return [finding for finding in findings if not finding.passed and finding.kind != "note"]


def verdict_of(findings: Sequence[Judged]) -> Verdict:
    """`trusted` where the claim is supported, else what the failed attacks and controls mean, the worse of them:
    `suspect`, or `masked` where what fails is a sign of hidden gradients."""
    failed = {finding.means for finding in decisive(findings)}
    return "masked" if "masked" in failed else "suspect" if failed else "trusted"
