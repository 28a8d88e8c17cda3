"""The settings of an evaluation, one flat record: flags, TOML, file names and the results' cards come from here."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ibrobust.errors import BadInput, shortened
from ibrobust.files import as_name, in_zoo
from ibrobust.records import OneOf, checked, names_in, toml_values
from ibrobust.registry import EXTENSION_POINTS
from ibrobust.robustness.protocols import PROTOCOLS
from ibrobust.robustness.radii import parse_radii
from ibrobust.robustness.spellings import attack_name, norm_name, protocol_name

NATIVE = "native"
"""The backend that is this package's own attacks."""
TOLD = ("protocol", "norm", "view", "backend", "columns")
"""What tables say of a result's settings; `protocol` names the attacks that were chosen instead of one, too."""

_YOUNGER = ("generations", "target_class", "transfer_from", "attack_seeds")
NOT_ALWAYS = ("search", "columns", "attacks", "restarts", "backend", *_YOUNGER)
"""Settings that files of some kinds or of earlier versions do not name."""

ATTACKED_BY = frozenset({"protocol", "attacks", "eps", "generations"})
"""Settings that say by which attacks, how hard and at which radii."""

TARGETS = ("least-likely", "random")
"""Target classes beside the numbers of classes."""

_MOST_DRAWS = 10_000
"""Samples of the noise in one query at most: beyond what memory holds of most models."""


def _radii(eps: Any) -> tuple[float, ...]:
    return tuple(parse_radii(eps))


def _names(attacks: Any) -> Any:
    names = attacks.split(",") if isinstance(attacks, str) else attacks
    if not isinstance(names, Iterable):
        return attacks
    if not (found := tuple(attack_name(name) for name in names)):
        raise BadInput(f"attacks is empty; choose from {EXTENSION_POINTS['attack'].choices}")
    return found


def _view(view: Any) -> str:
    kind, _, count = str(view).partition(":")
    averaged = kind == "averaged" and count.isdecimal() and 1 <= int(count[:9]) <= _MOST_DRAWS
    if view not in ("mean", "fresh") and not averaged:
        choices = f"mean, fresh, averaged:N with N from 1 to {_MOST_DRAWS}"
        raise BadInput(f"view {shortened(repr(view))}: choose from {choices}")
    return str(view)


def _target_class(value: Any) -> str | None:
    """One of `TARGETS`, or the number of a class."""
    if value is None or value in TARGETS:
        return None if value is None else str(value)
    if isinstance(value, bool) or not (str(value).isdecimal() and len(str(value)) < 10):
        choices = f"{', '.join(TARGETS)}, or the number of a class"
        raise BadInput(f"target_class {shortened(repr(value))}: choose from {choices}")
    return str(int(value))


class Settings(BaseModel):
    """Everything that decides an evaluation's answer but the model and the samples; the twin of `Recipe`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    eps: Annotated[tuple[float, ...], BeforeValidator(_radii)] = Field(
        "0:0.1",
        validate_default=True,
        description="radii: 0:0.1 (11 even ones), 0:0.1:21, or 2/255,0.05",
    )
    protocol: Annotated[str, OneOf("protocol"), BeforeValidator(protocol_name)] = Field("paper", description="attacks")
    attacks: Annotated[tuple[str, ...] | None, OneOf("attack", several=True), BeforeValidator(_names)] = Field(
        None, description="registered attacks, separated by commas, instead of a protocol's"
    )
    norm: Annotated[str, OneOf("norm"), BeforeValidator(norm_name)] = Field("linf", description="norm of the changes")
    view: Annotated[str, BeforeValidator(_view)] = Field(
        "mean", description="how noise is scored: mean (off), fresh or averaged:N"
    )
    search: Annotated[str, OneOf("search")] = Field("bisect", description="over the radii")
    columns: Literal["own", "standing"] = Field(
        "own", description="own: each attack's own answer; standing: only what those before it left, faster"
    )
    restarts: Annotated[int, Field(ge=1)] = Field(1, description="random starts of PGD, APGD and Square")
    generations: Annotated[int, Field(ge=0, le=100_000)] = Field(
        12, description="of survivors' search, for each sample that still stands"
    )
    target_class: Annotated[str | None, BeforeValidator(_target_class)] = Field(
        None, description="attacks are to turn samples into this class: least-likely, random, or its number"
    )
    transfer_from: str | None = Field(
        None, description="make the images on another model, a run's folder or what --model takes, and score them here"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="seed of the attacks' random starts and noise")
    attack_seeds: Annotated[int, Field(ge=1, le=1000)] = Field(
        1,
        description="how often the whole protocol runs, with the seeds from the seed on; its answer is the worst case",
    )
    backend: Annotated[str, OneOf("backend", also=(NATIVE,))] = Field(NATIVE, description="whose attacks")

    @model_validator(mode="before")
    @classmethod
    def _some_try_every_radius(cls, values: Any) -> Any:
        if isinstance(values, dict) and (values.get("backend", NATIVE) != NATIVE or values.get("transfer_from")):
            return {"search": "exhaustive", **values}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        library = self.backend != NATIVE
        problems = {
            f"view {self.view!r}: backend {self.backend!r} sees the mean path only": library and self.view != "mean",
            f"restarts {self.restarts}: backend {self.backend!r} runs each attack once": library and self.restarts > 1,
            f"search {self.search!r}: backend {self.backend!r} tries every radius": library
            and self.search != "exhaustive",
            f"search {self.search!r}: goes with view 'mean'": self.view != "mean" and self.search != "bisect",
            f"columns {self.columns!r}: goes with view 'mean'": self.view != "mean" and self.columns != "own",
            f"attack_seeds {self.attack_seeds}: goes with view 'mean'": self.view != "mean" and self.attack_seeds > 1,
            f"attack_seeds {self.attack_seeds}: seed {self.seed} leaves none behind it": self.seed + self.attack_seeds
            > 2**63,
            f"attack_seeds {self.attack_seeds}: target_class 'random' is drawn from one seed": self.attack_seeds > 1
            and self.target_class == "random",
            f"search {self.search!r}: images of another model are tried at every radius": self.transfer_from is not None
            and self.search != "exhaustive",
            **{
                f"{key} {value!r}: {why}": value is not None and found
                for key, value in (("target_class", self.target_class), ("transfer_from", self.transfer_from))
                for why, found in (
                    (f"backend {self.backend!r} cannot serve it", library),
                    ("goes with view 'mean'", self.view != "mean"),
                )
            },
            f"attacks {','.join(self.attacks or ())!r}: each once": len(set(self.attacks or ()))
            < len(self.attacks or ()),
            f"protocol {self.protocol!r}: leave it out beside attacks": self.attacks is not None
            and self.protocol != "paper",
        }
        for problem, found in problems.items():
            if found:
                raise BadInput(problem)
        if self.corrupts:
            for key, value in self:
                if key not in ("protocol", "seed") and value != type(self).model_fields[key].get_default():
                    self._refuse_beside_corruptions(key, value)
        return self

    def _refuse_beside_corruptions(self, key: str, value: object) -> None:
        usual = parse_radii("0:0.1") if key == "eps" else None
        if usual is None or list(value) != usual:  # type: ignore[call-overload]
            shown = ",".join(f"{radius:g}" for radius in self.eps) if key == "eps" else value
            raise BadInput(f"{key} {shortened(str(shown))}: protocol {self.protocol!r} has no attacks; leave it out")

    @property
    def corrupts(self) -> bool:
        """Whether images are corrupted instead of attacked."""
        known = self.attacks is None and self.protocol in PROTOCOLS
        return known and PROTOCOLS[self.protocol].corruptions

    @property
    def radii(self) -> list[float]:
        """Strictly ascending; 0 where `eps` names it."""
        return list(self.eps)

    @property
    def label(self) -> str:
        """The protocol, or the attacks that were chosen instead, with their target and their other model: the folder of
        the results, and what tables say."""
        attacks = self.protocol if self.attacks is None else "_".join(self.attacks)
        towards = f"-to-{self.target_class}" if self.target_class else ""
        source = f"-from-{as_name(Path(self.transfer_from).name)}" if self.transfer_from else ""
        return (
            attacks if attacks == self.protocol and not (towards or source) else as_name(f"{attacks}{towards}{source}")
        )

    @property
    def told(self) -> dict[str, str]:
        """The values of `TOLD`."""
        return {key: self.label if key == "protocol" else getattr(self, key) for key in TOLD}

    @property
    def left_out(self) -> set[str]:
        """Settings that are younger than released results and stand in no file where they have their default."""
        return {*_YOUNGER} - self.unusual.keys()

    @property
    def seeds(self) -> range:
        """Those that the whole protocol is run with."""
        return range(self.seed, self.seed + self.attack_seeds)

    @property
    def unusual(self) -> dict[str, object]:
        """The settings that are not the default."""
        usual = make_settings({})
        return {key: value for key, value in self if value != getattr(usual, key)}

    @property
    def attack_names(self) -> tuple[str, ...]:
        """The names of the attacks, cheapest first.

        Raises:
            BadInput: there is no such protocol.
        """
        return PROTOCOLS[self.protocol].attacks if self.attacks is None else self.attacks

    @property
    def names(self) -> list[tuple[str, str]]:
        """The kinds and names of what the settings look up: `("norm", "linf")`, …; of a protocol that is not
        registered here, its name alone."""
        by_protocol = self.attacks is None and self.protocol in PROTOCOLS
        return names_in(self) + [("attack", name) for name in (self.attack_names if by_protocol else ())]

    def file_stem(self, name: str) -> str:
        """The name of the file that holds this model's results: whatever is not the default stands behind it."""
        told = [(key, value.replace(":", "")) for key, value in self.told.items() if key != "protocol"]
        told.sort(key=lambda setting: setting[0] == "backend")
        special = [value for key, value in told if key in self.unusual]
        return "--".join([name, *special])

    def to_toml(self) -> str:
        """One `key = value` line per setting; `settings_in` reads it back."""
        values = self.model_dump(mode="json", exclude_none=True)
        return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())


def make_settings(values: Mapping[str, Any], *, file: Path | None = None) -> Settings:
    """Checked settings; every setting counts as given, so that a card names them all.

    Raises:
        BadInput: as `records.checked`.
    """
    settings = checked(Settings, values, file=file)
    return settings.model_copy(update=dict(settings))


def settings_in(file: Path, overrides: Mapping[str, Any]) -> Settings:
    """The settings in a TOML file; `overrides` win over it.

    Raises:
        BadInput: the file cannot be read, or a value in it cannot be used.
    """
    return make_settings({**toml_values(in_zoo(file), "settings"), **overrides}, file=file)
