"""What a result says about itself: which settings, of which model, on which data, at what cost; what an audit found.

In a results file the card is one flat JSON object. Its keys are those of `ResultCard` and, beside them, those of its
settings; two of the settings have names there that are older than this record.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError, model_validator

from ibrobust.errors import BadInput, shortened
from ibrobust.files import checked_name
from ibrobust.recipe import Recipe
from ibrobust.registry import EXTENSION_POINTS
from ibrobust.robustness.card_records import (
    CorruptionRecord,
    Count,
    DataRecord,
    Number,
    Record,
    SourceRecord,
    TransferRecord,
)
from ibrobust.robustness.settings import NATIVE, NOT_ALWAYS, Settings, make_settings
from ibrobust.robustness.verdicts import Doubt, Kind, Verdict, verdict_of

AttackSettings = dict[str, bool | int | float | str]
"""The keyword arguments of one attack."""
SUBSTITUTE = "square"
"""The attack without gradients that takes the place of others where theirs are not finite: a card holds its queries,
requested or not."""

_FILE_KEYS = {"eps": "radii", "view": "noise", "attacks": "chosen_attacks"}
"""The keys of settings in a file that are not their names; `attacks` there holds the attacks' own settings."""
_OF_SEARCHES = ("search", "columns")
"""Settings that a file names only where the noise is off."""
_OF_CORRUPTIONS = ("protocol", "seed")
"""All that a file of corrupted images names."""


class QueryCount(Record):
    """Forward and gradient evaluations, summed over samples."""

    forward: Count
    gradient: Count


class ModelRecord(Record):
    """Which model was attacked: its name, and where they are known its recipe, its digests and its metrics by split.

    Attributes:
        source: of a model without a recipe; None where it is a function in a Python file, called without arguments.
        noise: what a model of a recipe was trained with.
        warnings: what the health checks had to say.
        plugins: SHA-256 by name of those that the recipe's names come from.
    """

    run: str
    recipe: Recipe | None = None
    metrics: dict[str, dict[str, float]] | None = None
    noise: str | None = None
    weights_sha256: str | None = None
    code_sha256: str | None = None
    source: SourceRecord | None = None
    warnings: list[str] | None = None
    plugins: dict[str, str] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "ModelRecord":
        checked_name(self.run, "run")
        if self.recipe is not None:
            _require_known(self.recipe.names, self.plugins)
        for noise in (self.noise, self.recipe.noise if self.recipe else None):
            if noise is not None and not (self.plugins or _is_noise(noise)):
                raise BadInput(f"noise {shortened(repr(noise))} is no noise that a model is trained with")
        return self


class FindingRecord(Record):
    """One check's answer, as `checks.Finding`; earlier versions kept neither kind nor error."""

    name: str
    value: Number
    threshold: Number
    passed: bool
    means: Doubt
    sentence: str
    kind: Kind | None = None
    error: Number | None = None


class AuditRecord(Record):
    """What the checks found on the first so many samples, or on those that were drawn, most of it at one radius;
    SHA-256 by name of the plugins that checks came from."""

    samples: Count
    eps: Number
    findings: list[FindingRecord]
    plugins: dict[str, str] | None = None
    sample: str | None = None


class ResultCard(Record):
    """The card of one result.

    Attributes:
        attacks: what ran, by name, with the settings of each.
        queries: how often each attack queried the model, and what the clean images took.
        draws: samples of the noise in each query of an attack; None where the noise is off.
        model, data, versions: None where a Python caller did not say.
        warnings: what is odd about the model, or happened to an attack; None where nothing is.
        plugins: SHA-256 by name of those whose attacks, norms, … were used; None where none was.
        corruptions: of results on corrupted images alone.
        transfer: of results with images of another model alone.
    """

    settings: Settings
    attacks: dict[str, AttackSettings]
    queries: dict[str, QueryCount]
    draws: int | None = None
    model: ModelRecord | None = None
    data: DataRecord | None = None
    versions: dict[str, str] | None = None
    warnings: list[str] | None = None
    plugins: dict[str, str] | None = None
    corruptions: CorruptionRecord | None = None
    transfer: TransferRecord | None = None
    verdict: Verdict | None = None
    audit: AuditRecord | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "ResultCard":
        if self.verdict is not None:
            if self.audit is None or not self.audit.findings:
                raise BadInput(f"verdict {self.verdict!r} has no findings")
            if self.verdict != (found := verdict_of(self.audit.findings)):
                raise BadInput(f"verdict {self.verdict!r} is not that of its findings, {found!r}")
        return self

    def with_warnings(self, texts: Sequence[str]) -> "ResultCard":
        """The card with these warnings after its own; the same where there are none."""
        told = [*(self.warnings or []), *texts]
        return self.model_copy(update={"warnings": list(dict.fromkeys(told))}) if told else self

    @property
    def every_warning(self) -> list[str]:
        """Those about the model and those of the evaluation."""
        return list(dict.fromkeys([*((self.model.warnings if self.model else None) or []), *(self.warnings or [])]))

    @property
    def run(self) -> str:
        """The model's name."""
        return self.model.run if self.model else "a model"

    @property
    def dataset(self) -> str:
        """The data's name."""
        return self.data.name if self.data else "its samples"

    @property
    def stated_verdict(self) -> str:
        """The audit's verdict, or that there is none."""
        return self.verdict or "unaudited"


def card_text(card: ResultCard) -> str:
    """The card as the JSON that stands in a results file; what a file did not say when it was read is not said."""
    settings = card.settings.model_dump(exclude_unset=True, exclude_none=True, exclude=card.settings.left_out)
    rest = card.model_dump(exclude={"settings"}, exclude_unset=True, exclude_none=True)
    if card.settings.view != "mean":
        settings = {key: value for key, value in settings.items() if key not in _OF_SEARCHES}
    if card.corruptions:
        settings = {key: value for key, value in settings.items() if key in _OF_CORRUPTIONS}
    if card.settings.attacks is not None:
        settings["protocol"] = card.settings.label
    named = {_FILE_KEYS.get(key, key): value for key, value in settings.items()}
    return json.dumps({**rest, **named}, sort_keys=True)


def card_of(text: str | bytes) -> ResultCard:
    """The card in a results file.

    Raises:
        BadInput: it is not one; one line that names the field.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"its card is no JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise BadInput(f"its card is {_kind(content)}, not an object")
    names = {_FILE_KEYS.get(key, key): key for key in Settings.model_fields}
    settings = {names[key]: value for key, value in content.items() if key in names}
    if settings.get("backend", NATIVE) != NATIVE:
        settings.pop("search", None)  # Earlier versions wrote a search here that libraries do not do.
    if settings.get("attacks"):
        settings["protocol"] = Settings.model_fields["protocol"].default  # In a file it names the attacks.
    return _checked_card(settings, {key: value for key, value in content.items() if key not in names})


def _checked_card(asked_for: Mapping[str, Any], rest: Mapping[str, Any]) -> ResultCard:
    always = [key for key in Settings.model_fields if key not in NOT_ALWAYS]
    if "corruptions" in rest:
        always = [*_OF_CORRUPTIONS]
        asked_for = {**make_settings({}).model_dump(), **asked_for}
    if missing := [_FILE_KEYS.get(key, key) for key in always if key not in asked_for]:
        raise BadInput(f"its card lacks {', '.join(missing)}")
    try:
        settings = Settings.model_validate(asked_for, strict=True)
    except ValidationError as error:
        raise _refusal(error, _FILE_KEYS) from None
    try:
        card = ResultCard(settings=settings, **rest)
    except ValidationError as error:
        raise _refusal(error, {}) from None
    except TypeError as error:  # A key that is none of Python's names.
        raise BadInput(f"its card: {shortened(str(error))}") from None
    return _complete(card)


def _refusal(error: ValidationError, keys: Mapping[str, str]) -> BadInput:
    """What is wrong first, in one line; `keys` are the file's names of fields where they differ."""
    first = error.errors()[0]
    if isinstance(whole := first.get("ctx", {}).get("error"), BadInput):
        named, _, sentence = str(whole).partition(" ")
        fields = {**Settings.model_fields, **ResultCard.model_fields, **ModelRecord.model_fields}
        return BadInput(f"its card's {keys.get(named, named)} {sentence}" if named in fields else f"its card: {whole}")
    parts = [keys.get(str(part), str(part)) for part in first["loc"]]
    return BadInput(f"its card's {shortened('.'.join(parts)) or 'settings'}: {first['msg']}")


def _complete(card: ResultCard) -> ResultCard:
    """The card of a file, which says what a card of Python need not.

    Raises:
        BadInput: it lacks something, or names what is not registered.
    """
    kind = "corruptions" if card.settings.corrupts or card.corruptions else "attacks"
    if missing := [key for key in ("model", "data", "queries", kind) if not getattr(card, key)]:
        raise BadInput(f"its card lacks {', '.join(missing)}")
    try:
        _require_known(card.settings.names, card.plugins)
    except BadInput as error:
        raise BadInput(f"its card: {error}") from error
    for name in card.attacks:
        checked_name(name, "its card's attacks")
    if card.corruptions and not (card.settings.corrupts and not card.attacks):
        raise BadInput("its card's corruptions do not go with its protocol")
    needed = {"clean", *card.attacks}
    if not card.corruptions and (needed - {*card.queries} or {*card.queries} - needed - {SUBSTITUTE}):
        raise BadInput("its card's queries are not those of its attacks and of the clean images")
    return card


def _require_known(names: Iterable[tuple[str, str]], plugins: Mapping[str, str] | None) -> None:
    """Raises:
    BadInput: one of the names is not registered, and no plugin that is not loaded here can have brought it.
    """
    for kind, name in names:
        if kind in ("data set", "latent noise") or (kind, name) == ("backend", NATIVE):
            continue  # Data may be a file, noise a number, and our own attacks are no library.
        if not plugins and name not in EXTENSION_POINTS[kind]:
            raise BadInput(f"no {kind} {shortened(repr(name))}; choose from {EXTENSION_POINTS[kind].choices}")


_NOISES = ("auto", "categorical")
"""Noise beside the registered kinds and standard deviations: a categorical latent's is the choice."""


def _is_noise(name: str) -> bool:
    if name in _NOISES or name in EXTENSION_POINTS["latent noise"]:
        return True
    try:
        return 0 <= float(name) < math.inf
    except ValueError:
        return False


def _kind(value: object) -> str:
    return {list: "a list", str: "text", type(None): "null", bool: "true or false"}.get(type(value), "a number")
