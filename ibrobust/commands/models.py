"""`python -m ibrobust models`: the forms that a model may have, what each needs, and an example."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ibrobust.commands.command_line import Parser, parsed
from ibrobust.errors import BadInput
from ibrobust.records import flag
from ibrobust.registry import EXTENSION_POINTS

if TYPE_CHECKING:
    from ibrobust.subjects.formats import Format

_WIDTH = 96
_FLAGS = {"arguments": "--model-arg", "say": "", "shape": ""}
"""What a format takes, as a flag; empty where no flag says it."""


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)

    from ibrobust.subjects.formats import FORMATS

    if options.format is None:
        print("\n".join(_lines(FORMATS)))
        return
    form = FORMATS[options.format]
    if form.names is None:
        named = ", ".join(name for name in FORMATS if FORMATS[name].names)
        raise BadInput(f"format {options.format!r}: it has no list of names; {named} have")
    print("\n".join(form.names()))


def _lines(formats: "Mapping[str, Format]") -> Iterator[str]:
    yield "Forms of your own model, each with a line that takes it:"
    for name in formats:
        form = formats[name]
        yield f"  {form.written}"
        flags = [_FLAGS.get(key, flag(key)) for key in form.takes]
        takes = f"; takes {', '.join(filter(None, flags))}" if any(flags) else ""
        about = f"{form.holds or _origin(name)}{takes}{_needs(form)}"
        yield from textwrap.wrap(about, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
        if form.example:
            yield f"      evaluate {form.example}"
    listed = ", ".join(f"ibrobust models {name}" for name in formats if formats[name].names)
    yield f"\nNames: {listed}."
    yield "All forms take --normalise or --mean and --std, and --classes; docs/models.md explains them."
    yield f"Encoders that `train --model` builds: {EXTENSION_POINTS['model'].choices}."


def _origin(name: str) -> str:
    return f"registered by {EXTENSION_POINTS['model format'].origins.get(name, 'you')}"


def _needs(form: "Format") -> str:
    """The libraries that a form needs, and whether they are here."""
    if not form.needs:
        return ""
    lacking = [library for library in form.needs if find_spec(library) is None]
    if not lacking:
        return f"; needs {', '.join(form.needs)}, installed"
    advice = f": pip install 'ibrobust[{form.extra}]'" if form.extra else ""
    return f"; needs {', '.join(form.needs)}; {', '.join(lacking)} not installed{advice}"


def _parser() -> Parser:
    formats = EXTENSION_POINTS["model format"].choices
    parser = Parser("models", f"List the forms that a model may have ({formats}), or the names that one of them knows.")
    parser.prog = "python -m ibrobust models"
    parser.add_argument("format", nargs="?", default=None, help="list the names that this form knows")
    return parser
