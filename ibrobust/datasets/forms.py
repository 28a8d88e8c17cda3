"""What a form of data is: one entry for each that `--data` may have beside the names of data sets."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ibrobust.datasets.interface import DATASETS, Parts
from ibrobust.datasets.options import DataOptions
from ibrobust.errors import BadInput, shortened
from ibrobust.registry import Registry, extension_point

_MEANT_FOR = {
    "layout": "arrays of images", "resize": "encoded images", "crop": "encoded images", "label_column": "tables",
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """A form in which data is kept and named.

    Attributes:
        written: how its texts look, for messages.
        accepts: whether a text is one of them; it looks at names and folders, not into files.
        load: (text, options) → training and test part; raises `BadInput` in one line that names file and place.
        holds: what it is, in a few words.
        takes: of the fields of `DataOptions`, those that say something here.
        title: text → what results call the data, beside the model.
        example: words after `evaluate --model net.py:make --data`.
    """

    written: str
    accepts: Callable[[str], bool]
    load: Callable[[str, DataOptions], Parts]
    holds: str
    takes: tuple[str, ...] = ()
    example: str = ""
    title: Callable[[str], str] = lambda data: Path(data).resolve().stem


FORMS: Registry[Form] = extension_point("data format", Form)


def form_name(data: str) -> str:
    """The name of the form that a text is written in; the one that was registered last where several accept it.

    Raises:
        BadInput: there is none.
    """
    for name in reversed(list(FORMS)):
        if FORMS[name].accepts(data):
            return name
    written = ", ".join(form.written for form in FORMS.values())
    raise BadInput(f"no data set {shortened(data)!r}; choose from {DATASETS.choices}, or write {written}")


def origin_of(data: str) -> tuple[str, str]:
    """The kind and name of the registered thing that reads the data."""
    return ("data set", data) if data in DATASETS else ("data format", form_name(data))


def title_of(data: str) -> str:
    """What results call the data, beside the model."""
    return data if data in DATASETS else FORMS[form_name(data)].title(data)


def require_taken(options: DataOptions, data: str, taken: tuple[str, ...]) -> None:
    """Raises:
    BadInput: an option says nothing about this data.
    """
    for option, value in options.given.items():
        if option not in taken:
            raise BadInput(
                f"{option} {value!r} is for {_MEANT_FOR[option]}; data {shortened(data)!r} is not of that kind"
            )
