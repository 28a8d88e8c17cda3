"""The flags that several commands share: which runs, or which model, on which data."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibrobust.commands.command_line import Parser, doing
from ibrobust.errors import BadInput
from ibrobust.registry import EXTENSION_POINTS

if TYPE_CHECKING:
    from ibrobust.experiments.evaluation import Subject
    from ibrobust.subjects.zoo import Run


def add_subject_flags(parser: Parser) -> None:
    """What `chosen_subjects` reads, and where tensors live."""
    parser.add_argument(
        "run", type=Path, nargs="*", help="runs or folders of runs; zoo for the released ones; --runs by default"
    )
    parser.add_argument(
        "--model", default=None, metavar="FILE.py:FACTORY",
        help=f"take this model instead of runs; formats: {EXTENSION_POINTS['model format'].choices}",
    )  # fmt: skip
    parser.add_argument("--data", default=None, help="data for --model: a name, FILE.npz or a folder of class folders")
    parser.add_argument("--layout", default=None, help="of FILE.npz: auto (where its shape tells), nchw or nhwc")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_data_flags()
    parser.add_device_flags(default_threads=None)


def chosen_subjects(options: Namespace) -> "Iterator[tuple[Subject, Run | None]]":
    """The model that the flags name, or each run with the run itself: those in --runs where none is named, the released
    ones where there is none.

    Raises:
        BadInput: the flags contradict each other, or name nothing that can be loaded.
    """
    from ibrobust.experiments.evaluation import foreign_subject, run_subject
    from ibrobust.subjects.zoo import CARD, find_runs

    flags: dict[str, Any] = {"data_dir": options.data_dir, "download": options.download}
    if options.model:
        if options.run:
            raise BadInput(f"--model {options.model}: that model is taken alone; leave out {options.run[0]}")
        if not options.data:
            raise BadInput(f"--model {options.model}: needs --data, a data set's name, an .npz file or a folder")
        with doing("loading the data") as say:
            subject = foreign_subject(options.model, options.data, layout=options.layout or "auto", told=say, **flags)
        yield subject, None
        return
    if options.data:
        raise BadInput(f"--data {options.data}: a run has data of its own; --data goes with --model")
    if options.layout:
        raise BadInput(f"--layout {options.layout}: a run has a layout of its own; --layout goes with --model")
    own = options.runs.is_dir() and any(options.runs.glob(f"*/{CARD}"))
    for found in find_runs(options.run or [options.runs if own else Path("zoo")]):
        with doing(f"loading {found.card.recipe.data}, the data of {found.card.run}"):
            subject = run_subject(found, **flags)
        yield subject, found
