"""The flags of an evaluation: one for each field of `Settings`, and a file that holds them."""

from argparse import SUPPRESS, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from ibrobust.commands.command_line import Parser, count
from ibrobust.errors import BadInput
from ibrobust.records import choices, flag
from ibrobust.robustness.settings import Settings, make_settings, settings_in

_EARLIER = {"view": "--noise"}
"""Names that flags had before."""


def add_settings_flags(parser: Parser, *, only: Sequence[str] = (), without: Sequence[str] = ()) -> None:
    """A flag for each setting, or for some; one that is not given has the file's value or the default."""
    fields = [key for key in only or Settings.model_fields if key not in without]
    parser.add_argument("--settings", type=Path, metavar="FILE.toml", help="settings; flags beside it win")
    for key in fields:
        field = Settings.model_fields[key]
        default = "" if field.default is None else f" (default: {field.default})"
        names = [flag(key), *([_EARLIER[key]] if key in _EARLIER else [])]
        parser.add_argument(
            *names, dest=key, type=_type_of(field), metavar=key.upper(), default=SUPPRESS,
            help=f"{field.description}{_choices(field)}{default}".replace("%", "%%"),
        )  # fmt: skip
    parser.set_defaults(settings_fields=tuple(fields))


def chosen_settings(options: Namespace, **fixed: Any) -> Settings:
    """The settings that the flags, and the file that they name, make together.

    Args:
        fixed: settings that the command has no choice in.

    Raises:
        BadInput: one of them cannot be used; the message names the flag, or the file and the key.
    """
    given = {key: getattr(options, key) for key in options.settings_fields if hasattr(options, key)} | fixed
    return settings_in(options.settings, given) if options.settings else make_settings(given)


def require_attacks(settings: Settings) -> None:
    """Raises:
    BadInput: the protocol attacks nothing, so that there is nothing that a command could say about attacks.
    """
    if settings.corrupts:
        raise BadInput(f"protocol {settings.label!r}: it attacks nothing; choose a protocol with attacks")


def _type_of(field: FieldInfo) -> Callable[[str], Any]:
    if not isinstance(field.default, int):
        return str
    lowest = next((mark.ge for mark in field.metadata if hasattr(mark, "ge")), None)
    return count if lowest == 1 else _whole


def _whole(text: str) -> int:
    if not text.removeprefix("-").isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _choices(field: FieldInfo) -> str:
    names = choices(field)
    if get_origin(field.annotation) is Literal and not str(field.description).startswith(get_args(field.annotation)[0]):
        names = list(get_args(field.annotation))
    return f": {', '.join(sorted(names))}" if names else ""
