"""The flags that several commands share: which runs, or which model, on which data."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibrobust.commands.command_line import Parser, doing, note_part_of_zoo
from ibrobust.commands.model_flags import MODEL, add_model_option_flags, chosen_options, require_no_options
from ibrobust.errors import BadInput
from ibrobust.records import flag
from ibrobust.registry import EXTENSION_POINTS

if TYPE_CHECKING:
    from ibrobust.experiments.subject import Subject
    from ibrobust.subjects.zoo import Run


def add_subject_flags(parser: Parser) -> None:
    """What `chosen_subjects` reads, and where tensors live."""
    parser.add_argument(
        "run", type=Path, nargs="*", help="runs or folders of runs; zoo for the released ones; --runs by default"
    )
    parser.add_argument(
        "--model", action="append", default=[], metavar=MODEL,
        help="take this model instead of runs, as FILE.py:FACTORY, FILE.onnx or timm:NAME; may be repeated; "
        f"`ibrobust models` explains the forms: {EXTENSION_POINTS['model format'].choices}",
    )  # fmt: skip
    add_model_option_flags(parser)
    parser.add_argument("--name", action="append", default=[], help="name of the model; one for each --model")
    parser.add_argument(
        "--data", default=None,
        help=f"data for --model: {EXTENSION_POINTS['data set'].choices}, or a file or folder in one of the "
        f"forms that `ibrobust datasets` explains: {EXTENSION_POINTS['data format'].choices}",
    )  # fmt: skip
    parser.add_argument("--layout", help="of arrays of images: nchw or nhwc; where the shape tells, none is needed")
    parser.add_argument("--resize", help="of image files: their shorter side, or HEIGHTxWIDTH; 256:bicubic filters so")
    parser.add_argument("--crop", help="of image files, after --resize: keep the centre, 224 or HEIGHTxWIDTH")
    parser.add_argument("--label-column", metavar="NAME", help="of tables of images: the column of labels")
    parser.add_argument(
        "--health", choices=("check", "ignore"), default=None,
        help="ignore: take --model although what is odd about it may make its numbers meaningless",
    )  # fmt: skip
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_data_flags()
    parser.add_device_flags(default_threads=None)


def chosen_subjects(
    options: Namespace, results: Path, *, gradients: bool = True
) -> "Iterator[tuple[Subject, Run | None]]":
    """The models that the flags name, or each run with the run itself: those in --runs where none is named, the
    released ones where there is none. A model of your own has a name that no other has in the folder of results.

    Args:
        gradients: whether those of a model of your own are looked at.

    Raises:
        BadInput: the flags contradict each other, or name nothing that can be loaded.
    """
    from ibrobust.experiments.subject import run_subject
    from ibrobust.subjects.zoo import CARD, find_runs

    flags: dict[str, Any] = {"data_dir": options.data_dir, "download": options.download}
    if options.model:
        yield from ((subject, None) for subject in _own_models(options, results, flags, gradients))
        return
    require_no_model_flags(options)
    own = options.runs.is_dir() and any(options.runs.glob(f"*/{CARD}"))
    places = options.run or [options.runs if own else Path("zoo")]
    note_part_of_zoo(places)
    for found in find_runs(places):
        with doing(f"loading {found.card.recipe.data}, the data of {found.card.run}"):
            subject = run_subject(found, **flags)
        yield subject, found


def require_no_model_flags(options: Namespace) -> None:
    """Raises:
    BadInput: something is said about a model of one's own, or its data, where there is none.
    """
    if options.name:
        raise BadInput(f"--name {options.name[0]}: a run has a name of its own; --name goes with --model")
    if options.data:
        raise BadInput(f"--data {options.data}: a run has data of its own; --data goes with --model")
    require_no_options(options)
    for key, value in given_data_options(options).items():
        raise BadInput(f"{flag(key)} {value}: a run has data of its own; {flag(key)} goes with --model")
    if options.health:
        raise BadInput(f"--health {options.health}: a run is always looked at; --health goes with --model")


def given_data_options(options: Namespace) -> dict[str, str]:
    """Those of the flags about data that are given."""
    keys = ("layout", "resize", "crop", "label_column")
    return {key: value for key in keys if (value := getattr(options, key)) is not None}


def _own_models(options: Namespace, results: Path, flags: dict[str, Any], gradients: bool) -> "list[Subject]":
    from ibrobust.datasets import DataOptions
    from ibrobust.experiments.subject import examined, unexamined_subject
    from ibrobust.experiments.subject_names import distinguished

    first = options.model[0]
    if options.run:
        raise BadInput(f"--model {first}: models of your own are taken alone; leave out {options.run[0]}")
    if not options.data:
        raise BadInput(f"--model {first}: needs --data, a data set's name, a file or a folder")
    if options.name and len(options.name) != len(options.model):
        raise BadInput(f"--name: {len(options.name)} names for {len(options.model)} models; one for each, in order")
    subjects, about = [], DataOptions(**given_data_options(options))
    flags = {**flags, "about": about, "options": chosen_options(options)}
    for model in options.model:
        with doing("loading the data") as say:
            found = unexamined_subject(model, options.data, told=say, **flags)
            subjects.append(found if options.health == "ignore" else examined(found, say, gradients=gradients))
    named = distinguished(subjects, options.name, results)
    for before, after in zip(subjects, named, strict=True):
        if before.name != after.name and not options.name:
            what = f"{before.name} is another model, or on other data, in {str(results)!r}"
            print(f"note: {what}; this one is {after.name} (--name gives it another)", file=sys.stderr)
    return named
