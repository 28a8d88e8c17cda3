"""`python -m ibrobust datasets`: the data sets and the forms of data, what each needs, and an example."""

import textwrap
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from ibrobust.commands.command_line import Parser, parsed
from ibrobust.records import flag
from ibrobust.registry import EXTENSION_POINTS

_WIDTH = 96
EXAMPLE = "train --data digits --epochs 1"
"""A line that takes a data set by name."""


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)
    print("\n".join(_lines(options)))


def _lines(options: Namespace) -> Iterator[str]:
    from ibrobust.datasets import DATASETS, FORMS
    from ibrobust.datasets.named import LIES_IN

    folder = Path(options.data_dir) if options.data_dir else None
    yield "Data sets, as --data NAME:"
    for name in DATASETS:
        yield f"  {name:<18}{_state(name, LIES_IN.get(name), folder)}"
    yield f"      {EXAMPLE}"
    yield ""
    yield "Forms of your own data, each with a line that takes it (evaluate --model net.py:make --data …):"
    for name in FORMS:
        form = FORMS[name]
        takes = f"; takes {', '.join(map(flag, form.takes))}" if form.takes else ""
        yield f"  {form.written}"
        yield from textwrap.wrap(f"{form.holds}{takes}", _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
        if form.example:
            yield f"      --data {form.example}"


def _state(name: str, place: str | None, folder: Path | None) -> str:
    """Whether a data set is there, and what it needs otherwise."""
    if place is None:
        origin = EXTENSION_POINTS["data set"].origins.get(name)
        return f"registered by {origin}" if origin else "here: it needs no files"
    if folder is None:
        return "needs a folder: --data-dir or $IBROBUST_DATA, with --download to fetch it there"
    if (folder / place).exists():
        return f"here, in {folder / place}"
    return f"not in {folder}; --download fetches it there"


def _parser() -> Parser:
    names = [EXTENSION_POINTS[kind].choices for kind in ("data set", "data format")]
    parser = Parser("datasets", f"List the data sets ({names[0]}) and the forms of data ({names[1]}).")
    parser.prog = "python -m ibrobust datasets"
    parser.add_data_flags()
    return parser
