"""What results claim, in the numbers that a manifest states and that anybody can count again."""

from ibrobust.robustness.corruption_results import CorruptionResults
from ibrobust.robustness.protocols import strong_enough
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.storage import AnyStored
from ibrobust.submissions.manifest import ClaimRecord


def claim_of(name: str, results: AnyStored, images: int) -> ClaimRecord:
    """The claim of the results in the file of that name.

    Args:
        results: with the verdict that the findings beside them support.
        images: how many adversarial images belong to them.
    """
    settings, rows = results.card.settings, results.sample_N
    if isinstance(results, CorruptionResults):
        standing = results.right_CSN.sum((0, 2)).tolist()
        known = (results.rows["prediction"] >= 0).all()
        clean = int((results.rows["prediction"] == results.rows["label"]).sum()) if known else None
    else:
        standing, clean = results.robust_EN.sum(1).tolist(), int(results.correct_N.sum())
    return ClaimRecord(
        file=name,
        data=results.card.dataset,
        protocol=settings.label,
        norm=settings.norm,
        samples=len(rows),
        clean=clean,
        standing=standing,
        verdict=results.card.stated_verdict,
        images=images,
    )


def provable(results: AnyStored) -> bool:
    """Whether images can prove such results: under noise and corruptions there are none."""
    return isinstance(results, BreakingRadii)


def rankable(results: AnyStored) -> bool:
    """Whether the leaderboard ranks such results once an audit trusts them."""
    noise = results.card.settings.view != "mean"
    return not isinstance(results, CorruptionResults) and strong_enough(results.attacks, noise=noise)


def in_words(claim: ClaimRecord) -> str:
    """One line for people."""
    question = f"{claim.data}, {claim.protocol}" + (f", {claim.norm}" if claim.clean is not None else "")
    if claim.clean is not None and claim.standing:
        told = f"{claim.standing[-1]} of {claim.samples} samples survive the largest radius"
    else:
        told = f"{claim.samples} samples"
    proof = f", {claim.images} images" if claim.images else ""
    return f"{question}: {told}{proof}; {claim.verdict}"
