"""What a result says about itself: what was asked, of which model, on which data, at what cost; what an audit found.

In a results file the card is one flat JSON object. Its keys are those of `ResultCard` and, beside them, those of its
settings; two of the settings have names there that are older than this record.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ibrobust.errors import BadInput
from ibrobust.recipe import Recipe
from ibrobust.robustness.settings import NATIVE, Settings

AttackSettings = dict[str, bool | int | float | str]
"""The keyword arguments of one attack."""
Verdict = Literal["trusted", "suspect", "masked"]

_FILE_KEYS = {"eps": "radii", "view": "noise", "attacks": "chosen_attacks"}
"""The keys of settings in a file that are not their names; `attacks` there holds the attacks' own settings."""
_OF_SEARCHES = ("search", "columns")
"""Settings that a file names only where the noise is off."""
_NOT_ALWAYS = (*_OF_SEARCHES, "attacks", "restarts", "backend")
"""Settings that files of some kinds or of earlier versions do not name."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class QueryCount(_Record):
    """Forward and gradient evaluations, summed over samples."""

    forward: int
    gradient: int


class ModelRecord(_Record):
    """Which model was attacked: its name, and where they are known its recipe, its digests and its metrics by split.

    Attributes:
        noise: what a model of a recipe was trained with.
        warnings: what the health checks had to say.
    """

    run: str
    recipe: Recipe | None = None
    metrics: dict[str, dict[str, float]] | None = None
    noise: str | None = None
    weights_sha256: str | None = None
    code_sha256: str | None = None
    warnings: list[str] | None = None


class DataRecord(_Record):
    """Which data the samples are from; of folders also the names of the classes by label, the order of the samples and
    which folder is the test part."""

    name: str
    fingerprint: str | None = None
    classes: list[str] | None = None
    order: str | None = None
    test_part: str | None = None


class FindingRecord(_Record):
    """One check's answer, as `checks.Finding`."""

    name: str
    value: float
    threshold: float
    passed: bool
    means: Literal["suspect", "masked"]
    sentence: str


class AuditRecord(_Record):
    """What the checks found on the first so many samples, most of it at one radius."""

    samples: int
    eps: float
    findings: list[FindingRecord]


class ResultCard(_Record):
    """The card of one result.

    Attributes:
        attacks: what ran, by name, with the settings of each.
        queries: what each attack asked of the model, and what the clean images took.
        draws: samples of the noise in each query of an attack; None where the noise is off.
        model, data, versions: None where a Python caller did not say.
        plugins: SHA-256 by name of those whose attacks, norms, … were used; None where none was.
    """

    settings: Settings
    attacks: dict[str, AttackSettings]
    queries: dict[str, QueryCount]
    draws: int | None = None
    model: ModelRecord | None = None
    data: DataRecord | None = None
    versions: dict[str, str] | None = None
    plugins: dict[str, str] | None = None
    verdict: Verdict | None = None
    audit: AuditRecord | None = None

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
    settings = card.settings.model_dump(exclude_unset=True, exclude_none=True)
    rest = card.model_dump(exclude={"settings"}, exclude_unset=True, exclude_none=True)
    if card.settings.view != "mean":
        settings = {key: value for key, value in settings.items() if key not in _OF_SEARCHES}
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


def _checked_card(settings: Mapping[str, Any], rest: Mapping[str, Any]) -> ResultCard:
    always = [key for key in Settings.model_fields if key not in _NOT_ALWAYS]
    if missing := [_FILE_KEYS.get(key, key) for key in always if key not in settings]:
        raise BadInput(f"its card lacks {', '.join(missing)}")
    try:
        return ResultCard(settings=Settings(**settings), **rest)
    except ValidationError as error:
        first = error.errors()[0]
    parts = [_FILE_KEYS.get(str(part), str(part)) for part in first["loc"]]
    raise BadInput(f"its card's {'.'.join(parts) or 'settings'}: {first['msg']}")


def _kind(value: object) -> str:
    return {list: "a list", str: "text", type(None): "null", bool: "true or false"}.get(type(value), "a number")
