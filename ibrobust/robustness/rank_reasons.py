"""Why a result has no rank, and whether its attacks say anything of gradients."""

from ibrobust.robustness.protocols import strong_enough, without_gradients
from ibrobust.robustness.storage import Results
from ibrobust.robustness.verdicts import decisive


def asks_gradients(result: Results) -> bool:
    """Whether gradients of the model were asked for, so that something is known of them."""
    return not (result.card.settings.transfer_from or without_gradients(result.attacks))


def reason(result: Results) -> str:
    """Why a result has no rank; empty where it has one."""
    settings, audit = result.card.settings, result.card.audit
    weak = [] if strong_enough(result.attacks, noise=settings.view != "mean") else ["not a strict protocol"]
    if settings.target_class or settings.transfer_from:
        about = "the images are another model's" if settings.transfer_from else "one target class alone was attacked"
        return "; ".join([*weak, f"{about}, which no audit is about"])
    if not audit:
        return "; ".join([*weak, "not audited"])
    if not result.card.verdict:
        return "; ".join([*weak, "audit.csv does not hold the audit of these rows"])
    return "; ".join(weak + [finding.sentence for finding in decisive(audit.findings)])
