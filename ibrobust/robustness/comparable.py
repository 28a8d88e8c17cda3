"""Which results can be compared: those that answer the same question about the same samples."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from ibrobust.robustness.settings import TOLD
from ibrobust.robustness.storage import AnyStored, Results


def groups(results: Sequence[Results], radii: Sequence[float] = ()) -> list[str]:
    """For each result, which of the others it can be compared with, in words: they answer the same question about the
    same samples. Questions that differ in what the words leave out are numbered.

    Args:
        radii: what is compared, where that is not everything: of two results that differ in further radii the question
            is the same.
    """
    asked = [_asked(result, radii) for result in results]
    words = [_question_in_words(result, at) for result, at in zip(results, asked, strict=True)]
    return numbered_groups(words, [_question_digest(result, at) for result, at in zip(results, asked, strict=True)])


def numbered_groups(words: Sequence[str], digests: Sequence[str]) -> list[str]:
    """The words of each question, with a number behind where questions of the same words have different digests."""
    known: dict[str, list[str]] = {}
    for word, digest in sorted(set(zip(words, digests, strict=True))):
        known.setdefault(word, []).append(digest)
    return [
        word if len(known[word]) == 1 else f"{word} ({known[word].index(digest) + 1})"
        for word, digest in zip(words, digests, strict=True)
    ]


def _asked(result: Results, radii: Sequence[float]) -> list[float]:
    """The radii of a result that are compared: all of them, or those of the named ones that it was attacked at."""
    named = {np.float32(radius) for radius in radii}
    return [radius for radius in result.card.settings.radii if not named or np.float32(radius) in named]


def _question_in_words(result: Results, asked: Sequence[float]) -> str:
    settings, samples = result.card.settings, samples_in_words(result)
    positive = [radius for radius in asked if radius > 0]
    radii = f"{len(positive)} {'radius' if len(positive) == 1 else 'radii'} to {max(asked, default=0):g}"
    unusual = [f"{key} {value}" for key, value in settings.unusual.items() if key not in ("eps", "attacks", *TOLD[:3])]
    about = f"{result.card.dataset} {settings.label} {settings.norm} {settings.view}"
    return ", ".join([about, samples, radii, *unusual])


def samples_in_words(result: AnyStored) -> str:
    """Which samples a result is of."""
    sample_N = np.sort(result.sample_N["sample"].to_numpy())
    first, last, count = int(sample_N[0]), int(sample_N[-1]), len(sample_N)
    if result.card.data and result.card.data.sample:
        return f"{count} samples, {result.card.data.sample}"
    which = "the first" if first == 0 else f"{first} to {last}:"
    return f"{which} {count} samples" if count == last - first + 1 else f"{count} samples of {first} to {last}"


def _question_digest(result: Results, asked: Sequence[float]) -> str:
    card, sample_N = result.card, np.sort(result.sample_N["sample"].to_numpy())
    fingerprint = card.data.fingerprint if card.data else None
    # Cards of before PGD had restarts lack its one; where others have them, the settings say how many.
    one = {"restarts": card.settings.restarts}
    attacks = {name: {**one, **settings} for name, settings in card.attacks.items()}
    given = {**card.settings.model_dump(mode="json", exclude=card.settings.left_out), "eps": [*asked]}
    question = [given, attacks, card.draws, card.dataset, fingerprint]
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode())
    digest.update(sample_N.astype("<i8").tobytes())
    return digest.hexdigest()
