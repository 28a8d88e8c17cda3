"""Frozen records that flags, TOML files and Python callers fill: each field declared once, each error one line."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ibrobust.errors import BadInput, shortened
from ibrobust.registry import EXTENSION_POINTS

Record = TypeVar("Record", bound=BaseModel)


@dataclass(frozen=True)
class OneOf:
    """Marks a field whose values are the names of an extension point.

    Attributes:
        kind: a key of `registry.EXTENSION_POINTS`.
        also: names that are accepted beside the registered ones.
        several: whether the value is a list of names.
    """

    kind: str
    also: tuple[str, ...] = ()
    several: bool = False


def kind_of(field: FieldInfo) -> OneOf | None:
    """The mark of a field whose values are names."""
    return next((mark for mark in field.metadata if isinstance(mark, OneOf)), None)


def names_in(record: BaseModel) -> list[tuple[str, str]]:
    """The kind and name of everything that a record's fields name: `("norm", "linf")`, …"""
    marks = {key: kind_of(field) for key, field in type(record).model_fields.items()}
    named = [(mark, getattr(record, key)) for key, mark in marks.items() if mark]
    return [(mark.kind, name) for mark, value in named for name in ((value or ()) if mark.several else (value,))]


def choices(field: FieldInfo) -> list[str]:
    """The names that a field may have, sorted; none where it is no name."""
    mark = kind_of(field)
    return sorted({*mark.also, *EXTENSION_POINTS[mark.kind]}) if mark else []


def flag(key: str) -> str:
    """A field's name as the command line spells it."""
    return f"--{key.replace('_', '-')}"


def checked(
    kind: type[Record], values: Mapping[str, Any], *, file: Path | None = None, spelled: Callable[[str], str] = str
) -> Record:
    """A record made of these values.

    Args:
        file: where the values were read, for the message.
        spelled: how the message names a field: as it is for Python callers, `flag` for the command line.

    Raises:
        BadInput: an unknown key or a value that cannot be used; one line with the key, the value and what is allowed.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
    key, place = ".".join(str(part) for part in first["loc"]), f"{file}: " if file else ""
    if first["type"] == "extra_forbidden":
        choices = ", ".join(kind.model_fields)
        raise BadInput(f"{file or kind.__name__.lower()}: no key {shortened(repr(key))}; choose from {choices}")
    if isinstance(whole := first.get("ctx", {}).get("error"), BadInput):
        raise BadInput(f"{place}{whole}")
    if first["type"] == "literal_error":
        choices = ", ".join(_literals(kind.model_fields[key].annotation))
        raise BadInput(f"{place}no {key} {shortened(repr(first['input']))}; choose from {choices}")
    given = shortened(repr(first["input"]) if file else str(first["input"]))
    value = f"{key} = {given}: " if file else f"{spelled(key)} {given}: "
    reason = first["msg"].removeprefix("Value error, ")
    raise BadInput(f"{place}{value if key else ''}{reason[:1].lower()}{reason[1:]}")


def _literals(annotation: Any) -> list[str]:
    """The texts of a `Literal`, which may be one of several types."""
    return [text for part in get_args(annotation) for text in (get_args(part) or (part,)) if isinstance(text, str)]


def toml_values(file: Path, noun: str) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        BadInput: it cannot be read; the message calls it a `noun`.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{noun} {str(file)!r} cannot be read: {error}") from error
    except RecursionError:
        raise BadInput(f"{noun} {str(file)!r} cannot be read: its lists are nested too deeply") from None
